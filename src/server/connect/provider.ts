import type { EventEmitter } from "node:events";
import type { IncomingMessage } from "node:http";
import type { Configuration, KoaContextWithOIDC } from "oidc-provider";
import { publicUrl } from "#env";
import { isDatabaseAway, RETRY_AFTER_SECONDS } from "../platform/away.ts";
import { transaction } from "../platform/db.ts";
import { log } from "../platform/log.ts";
import { processWide } from "../platform/process-wide.ts";
import { secretMatchesOneOf } from "../platform/secrets.ts";
import { adapterFor, hashesOf } from "./adapter.ts";
import { endIfBereft } from "./disconnect.ts";
import { awayPage, errorPage } from "./error-page.ts";
import { type Keys, oauthKeys } from "./keys.ts";
import { errors, interactionPolicy, Provider } from "./oidc.ts";
import { redeem } from "./redeem.ts";
import { type Endings, store, within } from "./scope.ts";
import { DEFAULT_SCOPE, knownScopes, SCOPES } from "./scopes.ts";
import { askedOfSignIn, mustSignInAgain, signedInOn } from "./sign-in.ts";

/**
 * The authorization server: oidc-provider, with what it leaves to us. Single use,
 * hashing and clients are in adapter.ts, the consent page's decision in consent.ts,
 * what happens when a code is redeemed in redeem.ts.
 */

const made = processWide(
  "authorization server",
  (): { server?: { provider: Provider; keys: Keys; keyIds: string; checkedAt: number } } => ({}),
);

const KEYS_FOR_MS = 60_000;

/** The authorization server with the keys that are valid now, so that rotating them needs no restart. */
export async function authorizationServer(): Promise<{ provider: Provider; keys: Keys }> {
  const known = made.server;
  if (known !== undefined && Date.now() - known.checkedAt < KEYS_FOR_MS) return known;
  const keys = await oauthKeys();
  const keyIds = keys.signing.map(({ kid }) => kid).join(" ");
  const provider = known !== undefined && known.keyIds === keyIds ? known.provider : build(keys);
  made.server = { provider, keys, keyIds, checkedAt: Date.now() };
  return made.server;
}

export const PATHS = {
  authorize: "/oauth/authorize",
  token: "/oauth/token",
  userinfo: "/oauth/userinfo",
  revoke: "/oauth/revoke",
  introspect: "/oauth/introspect",
  jwks: "/.well-known/jwks.json",
  openIdConfiguration: "/.well-known/openid-configuration",
  metadata: "/.well-known/oauth-authorization-server",
} as const;

const DAY = 24 * 60 * 60;
const SESSION_COOKIE = "quota_oauth_session";

function build(keys: Keys): Provider {
  const provider = new Provider(publicUrl(), configuration(keys));

  // The exact string, and nothing that a URL parser takes for the same (RFC 9700 §4.1.3).
  Object.assign(provider.Client.prototype, {
    redirectUriAllowed(this: { redirectUris: string[] }, uri: string) {
      return this.redirectUris.includes(uri);
    },
    // A code in a fragment or a form would need pages of its own; nobody asks for them.
    responseModeAllowed: (mode: string | undefined, type: string) => mode === undefined || mode === "query" || type !== "code",
    compareClientSecret(this: { clientSecret: string }, secret: string) {
      return secretMatchesOneOf(secret, hashesOf(this.clientSecret));
    },
  });

  underPublicAddress(provider);
  provider.use(whenAway);
  provider.use(answerFaults);
  provider.use(withoutSessionCookie);
  provider.use(plainMetadata);
  provider.use(askBeforeSendingErrors);
  provider.use(defaultScope);
  provider.use(challenge);
  provider.use(tokenTransaction);
  provider.on("server_error", (ctx, error) => {
    if (isDatabaseAway(error)) metAway.add(ctx.req);
    else log.error("the authorization server failed", { error });
  });
  (provider as EventEmitter).on("error", (error, ctx?: KoaContextWithOIDC) => {
    // A client that hung up while it was answered.
    if (ctx?.req.socket.destroyed !== true) log.error("the authorization server failed", { error });
  });
  return provider;
}

/**
 * Addresses that oidc-provider writes, and whether its cookies are `secure`, come from QUOTA_URL: what ends TLS
 * in front of this server may name any host. Koa means its prototypes to be changed (`app.request`).
 */
function underPublicAddress(provider: Provider): void {
  const { protocol, host } = new URL(publicUrl());
  Object.defineProperties(provider.request, {
    protocol: { get: () => protocol.slice(0, -1) },
    host: { get: () => host },
  });
}

function configuration(keys: Keys): Configuration {
  const secure = publicUrl().startsWith("https:");
  return {
    adapter: adapterFor,
    jwks: { keys: keys.signing },
    routes: {
      authorization: PATHS.authorize,
      token: PATHS.token,
      userinfo: PATHS.userinfo,
      revocation: PATHS.revoke,
      introspection: PATHS.introspect,
      jwks: PATHS.jwks,
    },
    cookies: {
      keys: keys.cookies,
      names: { session: SESSION_COOKIE, interaction: "quota_oauth_interaction", resume: "quota_oauth_resume" },
      short: { httpOnly: true, sameSite: "lax", secure },
      long: { httpOnly: true, sameSite: "lax", secure },
    },
    interactions: {
      policy: policy(),
      url(_ctx, interaction) {
        // Only now are client and redirect URI known to be good, so that the app can be told.
        if (knownScopes(interaction.params.scope).length === 0)
          throw new errors.InvalidScope("no known scope was asked for", String(interaction.params.scope));
        return `/connect/${interaction.uid}`;
      },
    },
    features: {
      devInteractions: { enabled: false },
      rpInitiatedLogout: { enabled: false },
      pushedAuthorizationRequests: { enabled: false },
      resourceIndicators: { enabled: false },
      dPoP: { enabled: false },
      userinfo: { enabled: true },
      // An app learns about its own tokens only, and ends no others.
      introspection: {
        enabled: true,
        allowedPolicy: (_ctx, client, token) => client.clientAuthMethod !== "none" && token.clientId === client.clientId,
      },
      revocation: { enabled: true, allowedPolicy: (_ctx, client, token) => token.clientId === client.clientId },
    },
    clientAuthMethods: ["client_secret_basic", "client_secret_post", "none"],
    responseTypes: ["code"],
    scopes: [...SCOPES],
    claims: { openid: ["sub"], profile: ["name"], email: ["email"] },
    pkce: { required: () => true },
    allowOmittingSingleRegisteredRedirectUri: false,
    enableHttpPostMethods: false,
    conformIdTokenClaims: true,
    rotateRefreshToken: true,
    issueRefreshToken: async () => true,
    // RFC 7009 §2.1: of a refresh token it has to, of an access token it may. An app that revokes
    // one no longer wants the connection, and without the refresh token nothing of it is left.
    revokeGrantPolicy: () => true,
    expiresWithSession: async () => false,
    // One grant is one connection: every authorization is asked for anew.
    loadExistingGrant: async (ctx) => {
      const grantId = (ctx.oidc.result?.consent as { grantId?: string } | undefined)?.grantId;
      return grantId === undefined ? undefined : ctx.oidc.provider.Grant.find(grantId);
    },
    async findAccount(_ctx, id) {
      const user = await (await store()).user.findFirst({ where: { id, deletedAt: null }, select: { email: true, name: true } });
      if (user === null) return undefined;
      return { accountId: id, claims: async () => ({ sub: id, email: user.email, ...(user.name === null ? {} : { name: user.name }) }) };
    },
    clientBasedCORS: (_ctx, origin, client) => (client.redirectUris ?? []).some((uri) => URL.parse(uri)?.origin === origin),
    ttl: {
      AccessToken: 60 * 60,
      AuthorizationCode: 60,
      IdToken: 60 * 60,
      // Counted anew each time it rotates: 30 days without use end it.
      RefreshToken: 30 * DAY,
      // Longer than any chain of refresh tokens is used; housekeeping removes grants without tokens.
      Grant: 3650 * DAY,
      Interaction: 60 * 60,
      Session: 60 * 60,
    },
    renderError(ctx, out) {
      ctx.type = "html";
      ctx.body = errorPage({ error: out.error, description: out.error_description });
    },
  };
}

/**
 * What an app can ask for with `prompt`. The consent page sees to it (consent.ts);
 * with `prompt=none` there is no page, and the app is told which one it would take:
 * to sign in, or, because each connection is asked for anew, the one for consent.
 */
function policy(): ReturnType<typeof interactionPolicy.base> {
  const { base, Check, Prompt } = interactionPolicy;
  const prompts = base();
  prompts.add(new Prompt({ name: "select_account", requestable: true }), 0);
  prompts.get("login")?.checks.add(
    new Check("consent_needed", "the person has to be asked", "consent_required", (ctx) => {
      if (!ctx.oidc.prompts.has("none")) return Check.NO_NEED_TO_PROMPT;
      const person = signedInOn.get(ctx.req);
      const again = person === undefined || mustSignInAgain(askedOfSignIn({ ...ctx.oidc.params }, new Date()), person.signedInAt);
      return again ? Check.NO_NEED_TO_PROMPT : Check.REQUEST_PROMPT;
    }),
    0,
  );
  return prompts;
}

type Middleware = (ctx: KoaContextWithOIDC, next: () => Promise<void>) => Promise<void>;

/** Requests for which the database was away. */
const metAway = new WeakSet<IncomingMessage>();

/** What is said in place of tokens while the database is away. */
export const AWAY = {
  error: "temporarily_unavailable",
  error_description: "The server's database cannot be reached; try again in a moment.",
};

/** oidc-provider tells of any fault as a server_error. That the database is away is told as such, so that apps try again. */
const whenAway: Middleware = async (ctx, next) => {
  await next();
  if (!metAway.has(ctx.req)) return;
  log.warn("the database was away for the authorization server", { path: ctx.path });
  ctx.status = 503;
  ctx.set("retry-after", String(RETRY_AFTER_SECONDS));
  ctx.set("cache-control", "no-store");
  ctx.remove("location");
  if (ctx.path.startsWith(PATHS.authorize)) {
    ctx.type = "html";
    ctx.body = awayPage();
  } else ctx.body = AWAY;
};

/** What is said of a fault of ours. */
export const FAULT = { error: "server_error", error_description: "The server failed." };

/** What a middleware throws. Koa would answer it too, but first remove the headers that were there before, those of the server included. */
const answerFaults: Middleware = async (ctx, next) => {
  try {
    await next();
  } catch (error) {
    if (isDatabaseAway(error)) return void metAway.add(ctx.req);
    log.error("the authorization server failed", { error });
    for (const name of ["location", "set-cookie"]) ctx.remove(name);
    ctx.status = 500;
    ctx.set("cache-control", "no-store");
    if (ctx.path.startsWith(PATHS.authorize)) {
      ctx.type = "html";
      ctx.body = errorPage({ error: FAULT.error });
    } else ctx.body = FAULT;
  }
};

/** No session is kept (adapter.ts), so no browser needs a cookie for it. */
const withoutSessionCookie: Middleware = async (ctx, next) => {
  await next();
  const cookies = [(ctx.response.headers["set-cookie"] as string | string[] | undefined) ?? []]
    .flat()
    .filter((cookie) => !cookie.startsWith(`${SESSION_COOKIE}=`) && !cookie.startsWith(`${SESSION_COOKIE}.sig=`));
  ctx.remove("set-cookie");
  if (cookies.length > 0) ctx.set("set-cookie", cookies);
};

const plainMetadata: Middleware = async (ctx, next) => {
  await next();
  if (ctx.path.startsWith("/.well-known/") && ctx.status === 200 && ctx.path !== PATHS.jwks)
    Object.assign(ctx.body as object, { response_modes_supported: ["query"] });
};

/**
 * RFC 9700 §4.11.2: before a person has been asked anything, an error does not send
 * them on by itself, or our address could be used to lead people anywhere a
 * developer likes. They see what is wrong, and where a link would take them.
 * `prompt=none` is the exception, because nobody looks.
 */
const askBeforeSendingErrors: Middleware = async (ctx, next) => {
  // Errors would be sent in these ways too, one of them without a redirect.
  if (ctx.path === PATHS.authorize && ["fragment", "form_post"].includes(String(ctx.query.response_mode))) {
    ctx.query = { ...ctx.query, response_mode: "unsupported" };
  }
  await next();
  if (ctx.path !== PATHS.authorize || ctx.status !== 303) return;
  const location = URL.parse(ctx.response.get("location"));
  const answer = new URLSearchParams(location?.hash.slice(1) || location?.search);
  const error = answer.get("error");
  if (!location || !error || [ctx.query.prompt].flat().includes("none")) return;
  ctx.remove("location");
  ctx.status = 400;
  ctx.type = "html";
  ctx.body = errorPage({ error, description: answer.get("error_description") ?? undefined, returnTo: location });
};

/** What Connect Wallet is about, when an app asks for nothing in particular. */
const defaultScope: Middleware = async (ctx, next) => {
  if (ctx.path === PATHS.authorize && (ctx.query.scope ?? "") === "") ctx.query = { ...ctx.query, scope: DEFAULT_SCOPE };
  await next();
};

/** RFC 9110 §15.5.2: a 401 says how to authenticate, also when the secret came in the form. */
const challenge: Middleware = async (ctx, next) => {
  await next();
  if (ctx.status === 401 && !ctx.response.get("www-authenticate")) ctx.set("www-authenticate", `Basic realm="${publicUrl()}"`);
};

/**
 * A code is consumed, tokens are issued and the link is made in one transaction. A
 * refused code commits too, because what it ended has to stay ended; a refusal of
 * ours, or a fault, takes everything back. Revoking is one transaction as well.
 */
const tokenTransaction: Middleware = async (ctx, next) => {
  if (ctx.method !== "POST" || (ctx.path !== PATHS.token && ctx.path !== PATHS.revoke)) return next();
  const endings: Endings = { reason: ctx.path === PATHS.revoke ? "app" : "token_reused", bereft: new Set() };
  try {
    await transaction((tx) =>
      within(
        tx,
        async () => {
          await next();
          if (ctx.status >= 500) throw new TakeBack();
          if (ctx.path === PATHS.token && ctx.status === 200) await redeem(tx, ctx);
        },
        endings,
      ),
    );
    // Before the answer leaves: whoever reads it finds the connection ended. If this fails, housekeeping does it.
    for (const linkedUserId of endings.bereft) await endIfBereft(linkedUserId);
  } catch (error) {
    if (error instanceof TakeBack) return;
    if (isDatabaseAway(error)) return void metAway.add(ctx.req);
    if (!(error instanceof errors.OIDCProviderError)) log.error("redeeming a code failed", { error });
    const refused = error instanceof errors.OIDCProviderError ? error : new errors.CustomOIDCProviderError("server_error", "oops");
    ctx.status = error instanceof errors.OIDCProviderError ? refused.statusCode : 500;
    ctx.body =
      ctx.status === 500
        ? { error: "server_error", error_description: "The server failed; nothing was changed." }
        : { error: refused.error, ...(refused.error_description === undefined ? {} : { error_description: refused.error_description }) };
  }
};

class TakeBack extends Error {}
