import { createHmac } from "node:crypto";
import type { InteractionResults } from "oidc-provider";
import { publicUrl } from "#env";
import { balanceOf } from "../ledger/accounts.ts";
import { database, prisma, transaction } from "../platform/db.ts";
import { hashSecret, secretMatches } from "../platform/secrets.ts";
import { keepDecision } from "./grants.ts";
import type { Keys } from "./keys.ts";
import { BufferedResponse, nodeRequest } from "./node-exchange.ts";
import { errors } from "./oidc.ts";
import { authorizationServer } from "./provider.ts";
import { withTransaction } from "./request-context.ts";
import { knownScopes, type Scope } from "./scopes.ts";
import { type AskedOfSignIn, askedOfSignIn, mustSignInAgain, type SignedIn } from "./sign-in.ts";

/** An app's request that waits for the user's decision, in the browser that began it. */
export type PendingRequest = {
  app: { id: string; name: string; siteUrl: string | null; logoUrl: string | null; markupBps: number; allowedModels: string[] };
  scopes: Scope[];
  /** Host of the redirect URI. */
  returnHost: string;
  signIn: AskedOfSignIn;
};

export { mustSignInAgain };

/** The request behind `/connect/{uid}`; null when it is over, or was begun in another browser. */
export async function pendingRequest(uid: string, cookieHeader: string): Promise<PendingRequest | null> {
  const interaction = await find(uid, cookieHeader);
  if (interaction === null) return null;
  const db = await prisma();
  const began = await db.oAuthRecord.findUnique({
    where: { kind_idHash: { kind: "Interaction", idHash: hashSecret(uid) } },
    select: { createdAt: true },
  });
  const app = await db.app.findUnique({
    where: { clientId: String(interaction.params.client_id), deletedAt: null },
    select: { id: true, name: true, siteUrl: true, logoUrl: true, markupBps: true, allowedModels: true },
  });
  if (app === null || began === null) return null;
  return {
    app,
    scopes: knownScopes(interaction.params.scope),
    returnHost: new URL(String(interaction.params.redirect_uri)).host,
    signIn: askedOfSignIn(interaction.params, began.createdAt),
  };
}

/** What a user allowed an app before, in all connections together; they share limit, models and markup. */
export type Earlier = {
  scopes: Scope[];
  /** Scopes of connections by the app's own ids. */
  ownIdScopes: Scope[];
  monthlyLimit: bigint | null;
  allowedModels: string[];
  /** The app's markup when the user last consented to spending. A higher one needs consent. */
  agreedMarkupBps: number;
};

/** What the consent page shows: the user's available credits, and what the user allowed this app before. */
export async function consentContext(userId: string, appId: string): Promise<{ balance: bigint; earlier: Earlier | null }> {
  const db = await prisma();
  const { walletId } = await db.user.findUniqueOrThrow({ where: { id: userId }, select: { walletId: true } });
  const links = await db.linkedUser.findMany({
    where: { userId, appId },
    orderBy: { id: "desc" },
    select: { scope: true, byToken: true, agreement: { select: { monthlyLimit: true, allowedModels: true, agreedMarkupBps: true } } },
  });
  const [newest] = links;
  const { available } = await balanceOf((await database()).sql, walletId);
  if (newest === undefined) return { balance: available, earlier: null };
  const scopesOf = (some: typeof links) => knownScopes(some.map(({ scope }) => scope).join(" "));
  return {
    balance: available,
    earlier: {
      scopes: scopesOf(links),
      ownIdScopes: scopesOf(links.filter(({ byToken }) => !byToken)),
      ...newest.agreement,
    },
  };
}

/**
 * A token that the consent page's form has to send back: a signature of request, user
 * and the markup that was shown. The request's cookie, which `find` checks, binds it to
 * the browser.
 */
export async function consentToken(uid: string, userId: string, markupBps: number): Promise<string> {
  const { keys } = await authorizationServer();
  return sign(keys.cookies[0] as string, uid, userId, markupBps);
}

function sign(key: string, uid: string, userId: string, markupBps: number): string {
  return `${markupBps}.${createHmac("sha256", key).update(`consent ${uid} ${userId} ${markupBps}`).digest("base64url")}`;
}

function isSigned(keys: Keys, tokenHash: Uint8Array, uid: string, userId: string, markupBps: number): boolean {
  return keys.cookies.some((key) => secretMatches(sign(key, uid, userId, markupBps), tokenHash));
}

/** What a user entered on the consent page before pressing Allow. */
export type FilledIn = {
  limited: boolean;
  /** The amount as typed. */
  limit: string;
  /** The ids of the ticked models. */
  models: string[];
};

const FILLED_IN = "FilledIn";

type Kept = FilledIn & { markupBps: number; tokenHash: string };

/**
 * Stores the form with the request, so that the page shows it again when the user has to
 * sign in or look at the page once more first: a limit that was set must not be lost on the way.
 * Nothing is stored for a request that is over, or was begun in another browser.
 */
export async function keepFilledIn(request: { uid: string; cookieHeader: string; token: string }, filledIn: FilledIn): Promise<void> {
  const interaction = await find(request.uid, request.cookieHeader);
  if (interaction === null) return;
  const payload: Kept = {
    limited: filledIn.limited,
    limit: storable(filledIn.limit),
    models: filledIn.models.map(storable),
    markupBps: Number.parseInt(request.token, 10) || 0,
    tokenHash: hashSecret(request.token).toString("base64url"),
  };
  const kept = { payload, expiresAt: new Date(interaction.exp * 1000) };
  const key = { kind: FILLED_IN, idHash: hashSecret(request.uid) };
  await (await prisma()).oAuthRecord.upsert({ where: { kind_idHash: key }, create: { ...key, ...kept }, update: kept });
}

/** Replaces control characters and unpaired surrogates, which PostgreSQL can't store. An invalid amount stays invalid. */
function storable(text: string): string {
  return text.replace(/\p{C}/gu, "\ufffd");
}

/**
 * The form that this user sent for a pending request, and the markup that it showed; null
 * when there is none. The form's token is checked, so that neither a link from elsewhere nor
 * another user can fill in the form.
 */
export async function filledInBefore(uid: string, userId: string): Promise<(FilledIn & { markupBps: number }) | null> {
  const db = await prisma();
  const record = await db.oAuthRecord.findUnique({
    where: { kind_idHash: { kind: FILLED_IN, idHash: hashSecret(uid) } },
    select: { payload: true },
  });
  if (record === null) return null;
  const { tokenHash, ...filledIn } = record.payload as Kept;
  const { keys } = await authorizationServer();
  return isSigned(keys, Buffer.from(tokenHash, "base64url"), uid, userId, filledIn.markupBps) ? filledIn : null;
}

export type Answer = { kind: "deny" } | { kind: "allow"; monthlyLimit: bigint | null; allowedModels: string[] };

/**
 * Takes the user's decision. `goTo`: the address to redirect the browser to. `over`: there
 * is no such pending request. `again`: the page was shown to another user, or the app's
 * markup has changed since, so the page has to be shown again. `signIn`: the app requires
 * the user to sign in again first.
 */
export async function decide(
  request: { uid: string; cookieHeader: string; person: SignedIn; token: string },
  answer: Answer,
): Promise<{ kind: "goTo"; url: string } | { kind: "over" } | { kind: "again" } | { kind: "signIn" }> {
  const { uid } = request;
  const { userId, signedInAt } = request.person;
  const interaction = await find(uid, request.cookieHeader);
  const pending = await pendingRequest(uid, request.cookieHeader);
  if (interaction === null || pending === null) return { kind: "over" };
  const { provider, keys } = await authorizationServer();
  if (!isSigned(keys, hashSecret(request.token), uid, userId, pending.app.markupBps)) return { kind: "again" };

  const { req, res } = exchange(uid, request.cookieHeader);
  const finish = (result: InteractionResults) => provider.interactionResult(req, res, result, { mergeWithLastSubmission: false });
  if (answer.kind === "deny") {
    return { kind: "goTo", url: await finish({ error: "access_denied", error_description: "the person said no" }) };
  }
  if (signedInAt === null || mustSignInAgain(pending.signIn, signedInAt)) return { kind: "signIn" };
  const url = await transaction((tx) =>
    withTransaction(tx, async () => {
      const grant = new provider.Grant({ accountId: userId, clientId: String(interaction.params.client_id) });
      grant.addOIDCScope(pending.scopes.join(" "));
      const grantId = await grant.save();
      await keepDecision(
        tx,
        grantId,
        {
          appId: pending.app.id,
          userId,
          monthlyLimit: answer.monthlyLimit === null ? null : String(answer.monthlyLimit),
          allowedModels: answer.allowedModels,
          agreedMarkupBps: pending.app.markupBps,
        },
        new Date(Date.now() + REDEEM_WITHIN_MS),
      );
      const ts = Math.floor(signedInAt.getTime() / 1000);
      return finish({ login: { accountId: userId, ts }, select_account: {}, consent: { grantId } });
    }),
  );
  return { kind: "goTo", url };
}

/** Longer than the redirect to the app takes and a code lives. */
const REDEEM_WITHIN_MS = 10 * 60_000;

async function find(uid: string, cookieHeader: string) {
  const { provider } = await authorizationServer();
  const { req, res } = exchange(uid, cookieHeader);
  try {
    const interaction = await provider.interactionDetails(req, res);
    return interaction.uid === uid ? interaction : null;
  } catch (error) {
    if (error instanceof errors.SessionNotFound) return null;
    throw error;
  }
}

function exchange(uid: string, cookieHeader: string) {
  const req = nodeRequest(
    { url: `${publicUrl()}/connect/${encodeURIComponent(uid)}`, method: "GET", headers: new Headers({ cookie: cookieHeader }) },
    null,
  );
  return { req, res: new BufferedResponse(req) };
}
