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
import { endLinkWithoutGrant } from "./disconnect.ts";
import { awayPage, errorPage } from "./error-page.ts";
import { type Keys, oauthKeys } from "./keys.ts";
import { errors, interactionPolicy, Provider } from "./oidc.ts";
import { redeem } from "./redeem.ts";
import { type Endings, store, withTransaction } from "./request-context.ts";
import { DEFAULT_SCOPE, knownScopes, SCOPES } from "./scopes.ts";
import { askedOfSignIn, mustSignInAgain, signedInOn } from "./sign-in.ts";

// The authorization server: oidc-provider and its configuration. Single use, hashing and clients are in adapter.ts, the
// decision on the consent page in consent.ts, what happens when a code is redeemed in redeem.ts.

const made = processWide(
  "authorization server",
  (): { server?: { provider: Provider; keys: Keys; keyIds: string; checkedAt: number } } => ({}),
);

const KEYS_FOR_MS = 60_000;

/** The authorization server. Its keys are read again each minute, so that rotating them needs no restart. */
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

  // Exact string comparison, without URL normalization (RFC 9700 §4.1.3).
  Object.assign(provider.Client.prototype, {
    redirectUriAllowed(this: { redirectUris: string[] }, uri: string) {
      return this.redirectUris.includes(uri);
    },
    // `fragment` and `form_post` are not supported: they would need pages of their own.
    responseModeAllowed: (mode: string | undefined, type: string) => mode === undefined || mode === "query" || type !== "code",
    compareClientSecret(this: { clientSecret: string }, secret: string) {
      return secretMatchesOneOf(secret, hashesOf(this.clientSecret));
    },
  });

  applyPublicUrl(provider);
  provider.use(answerDatabaseAway);
  provider.use(answerFaults);
  provider.use(withoutSessionCookie);
  provider.use(plainMetadata);
  provider.use(showErrorsBeforeRedirect);
  provider.use(defaultScope);
  provider.use(challenge);
  provider.use(tokenTransaction);
  provider.on("server_error", (ctx, error) => {
    if (isDatabaseAway(error)) databaseAway.add(ctx.req);
    else log.error("the authorization server failed", { error });
  });
  (provider as EventEmitter).on("error", (error, ctx?: KoaContextWithOIDC) => {
    // Not logged when the client has closed the connection.
    if (ctx?.req.socket.destroyed !== true) log.error("the authorization server failed", { error });
  });
  return provider;
}

/**
 * Takes the addresses that oidc-provider writes, and whether its cookies are `secure`, from QUOTA_URL, because a proxy
 * that ends TLS may pass any Host header. Koa's documented way is to extend the prototype (`app.request`).
 */
function applyPublicUrl(provider: Provider): void {
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
        // Here client and redirect URI have been checked, so the error may be sent to the redirect URI.
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
      // An app may introspect and revoke its own tokens only.
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
    // RFC 7009 §2.1: revoking a refresh token must end the grant, revoking an access token may.
    // An app that revokes either wants to end the connection.
    revokeGrantPolicy: () => true,
    expiresWithSession: async () => false,
    // One grant is one connection: every authorization needs a new consent.
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
      // Starts again with each rotation: a refresh token expires after 30 days without use.
      RefreshToken: 30 * DAY,
      // Longer than any chain of refresh tokens; housekeeping deletes grants without tokens.
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
 * The values of `prompt`, which the consent page carries out (consent.ts). With
 * `prompt=none` there is no page, and the app gets `login_required`, or
 * `consent_required`, because each connection needs a new consent.
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

/** Requests that failed because the database was unreachable. */
const databaseAway = new WeakSet<IncomingMessage>();

/** The answer to token requests while the database is unreachable. */
export const AWAY = {
  error: "temporarily_unavailable",
  error_description: "The server's database cannot be reached; try again in a moment.",
};

/** oidc-provider answers every fault with `server_error`. An unreachable database is answered with 503, so that apps retry. */
const answerDatabaseAway: Middleware = async (ctx, next) => {
  await next();
  if (!databaseAway.has(ctx.req)) return;
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

/** The answer to faults of this server. */
export const FAULT = { error: "server_error", error_description: "The server failed." };

/** Answers errors that a middleware throws. Koa would do so too, but first remove all headers, also those that the server has set. */
const answerFaults: Middleware = async (ctx, next) => {
  try {
    await next();
  } catch (error) {
    if (isDatabaseAway(error)) return void databaseAway.add(ctx.req);
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

/** Removes the cookie of oidc-provider's session, which is not stored (adapter.ts). */
const withoutSessionCookie: Middleware = async (ctx, next) => {
  await next();
  const cookies = [(ctx.response.headers["set-cookie"] as string | string[] | undefined) ?? []]
    .flat()
    .filter((cookie) => !cookie.startsWith(`${SESSION_COOKIE}=`) && !cookie.startsWith(`${SESSION_COOKIE}.sig=`));
  ctx.remove("set-cookie");
  if (cookies.length > 0) ctx.set("set-cookie", cookies);
};

/** Names in the metadata the one response mode that is supported. */
const plainMetadata: Middleware = async (ctx, next) => {
  await next();
  if (ctx.path.startsWith("/.well-known/") && ctx.status === 200 && ctx.path !== PATHS.jwks)
    Object.assign(ctx.body as object, { response_modes_supported: ["query"] });
};

/**
 * RFC 9700 §4.11.2: an error before the user has been asked must not redirect, or the
 * authorization endpoint is an open redirector for any developer's address. A page
 * shows the error, and a link with the host that it leads to. Except for `prompt=none`,
 * which apps use without showing a page.
 */
const showErrorsBeforeRedirect: Middleware = async (ctx, next) => {
  // oidc-provider would send errors in these modes too, `form_post` without a redirect.
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

/** An authorization without `scope` asks for the scopes of Connect Wallet. */
const defaultScope: Middleware = async (ctx, next) => {
  if (ctx.path === PATHS.authorize && (ctx.query.scope ?? "") === "") ctx.query = { ...ctx.query, scope: DEFAULT_SCOPE };
  await next();
};

/** RFC 9110 §15.5.2: a 401 has WWW-Authenticate, also when the secret was sent in the form. */
const challenge: Middleware = async (ctx, next) => {
  await next();
  if (ctx.status === 401 && !ctx.response.get("www-authenticate")) ctx.set("www-authenticate", `Basic realm="${publicUrl()}"`);
};

/**
 * One transaction consumes a code, issues tokens and makes the link. It commits when
 * oidc-provider refuses a code, because the grant that a reuse ended must stay ended;
 * when `redeem` refuses, or after a fault, it is rolled back. Revoking is one transaction too.
 */
const tokenTransaction: Middleware = async (ctx, next) => {
  if (ctx.method !== "POST" || (ctx.path !== PATHS.token && ctx.path !== PATHS.revoke)) return next();
  const endings: Endings = { reason: ctx.path === PATHS.revoke ? "app" : "token_reused", linkIds: new Set() };
  try {
    await transaction((tx) =>
      withTransaction(
        tx,
        async () => {
          await next();
          if (ctx.status >= 500) throw new RollBack();
          if (ctx.path === PATHS.token && ctx.status === 200) await redeem(tx, ctx);
        },
        endings,
      ),
    );
    // Before the answer is sent, so that the client that reads it finds the link ended. If this fails, housekeeping does it.
    for (const linkedUserId of endings.linkIds) await endLinkWithoutGrant(linkedUserId);
  } catch (error) {
    if (error instanceof RollBack) return;
    if (isDatabaseAway(error)) return void databaseAway.add(ctx.req);
    if (!(error instanceof errors.OIDCProviderError)) log.error("redeeming a code failed", { error });
    const refused = error instanceof errors.OIDCProviderError ? error : new errors.CustomOIDCProviderError("server_error", "oops");
    ctx.status = error instanceof errors.OIDCProviderError ? refused.statusCode : 500;
    ctx.body =
      ctx.status === 500
        ? { error: "server_error", error_description: "The server failed; nothing was changed." }
        : { error: refused.error, ...(refused.error_description === undefined ? {} : { error_description: refused.error_description }) };
  }
};

/** Rolls the transaction back; the answer stays as it is. */
class RollBack extends Error {}
