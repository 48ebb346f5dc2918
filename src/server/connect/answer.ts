import type { IncomingMessage, ServerResponse } from "node:http";
import { isDatabaseAway, RETRY_AFTER_SECONDS } from "../platform/away.ts";
import { log } from "../platform/log.ts";
import { awayPage, busyPage, errorPage } from "./error-page.ts";
import { AWAY, authorizationServer, FAULT, PATHS } from "./provider.ts";
import { countOAuthRequest } from "./rate-limit.ts";
import { type SignedIn, signedInOn } from "./sign-in.ts";

/** An answer that does not come from oidc-provider. Header names are in lower case. */
export type OwnAnswer = { status: number; headers: Record<string, string>; body: string | null };

type From = {
  /** The address that the request comes from, for its limit. */
  address: string;
  /** The user who is signed in in the browser. Called for authorizations only. */
  person: () => Promise<SignedIn | null>;
  /** The request with its whole body; an answer when the body is too large or does not arrive. */
  withBody: () => Promise<IncomingMessage | OwnAnswer>;
};

/**
 * Answers one request to the authorization server, whose target is a path with a query. null when
 * oidc-provider has written the answer to `outgoing`; otherwise `outgoing` is untouched and the
 * caller sends what is returned: 405, 413, 429, a redirect, 503 while the database is away, or 500.
 */
export async function answerOAuth(incoming: IncomingMessage, outgoing: ServerResponse, from: From): Promise<OwnAnswer | null> {
  const [pathname = ""] = (incoming.url ?? "").split("?", 1);
  const method = incoming.method ?? "GET";
  const allowed = METHODS.get(pathname);
  if (allowed !== undefined && !allowed.includes(method))
    return { status: 405, headers: { allow: allowed.join(", "), "cache-control": "no-store" }, body: null };
  const wait = method === "OPTIONS" ? null : await countOAuthRequest(pathname, from.address);
  if (wait !== null) return tooMany(pathname, wait);
  // Before oidc-provider, which would read the body while a transaction is open.
  const request = await from.withBody();
  if ("status" in request) return request;
  try {
    const person = method === "GET" && pathname.startsWith(PATHS.authorize) ? await from.person() : null;
    const stale = await redirectOtherUser(pathname, person?.userId ?? null);
    if (stale !== null) return { status: 303, headers: { location: stale, "cache-control": "no-store" }, body: null };
    if (person !== null) signedInOn.set(request, person);
    const { provider } = await authorizationServer();
    await provider.callback()(request, outgoing);
    return null;
  } catch (error) {
    // The answer has begun, so there is no other; the caller ends the connection.
    if (outgoing.headersSent) throw error;
    if (isDatabaseAway(error)) {
      log.warn("the database was away for the authorization server", { error });
      return away(pathname);
    }
    log.error("the authorization server failed", { error });
    return fault(pathname);
  }
}

/** The answer to a request whose body is refused, as an error of RFC 6749 §5.2. */
export function refusedBody(status: 408 | 413, sentence: string): OwnAnswer {
  return jsonAnswer(status, { error: "invalid_request", error_description: sentence }, status === 408 ? { connection: "close" } : {});
}

const METADATA = ["GET", "HEAD", "OPTIONS"];

const METHODS: ReadonlyMap<string, string[]> = new Map<string, string[]>([
  [PATHS.authorize, ["GET", "HEAD"]],
  [PATHS.token, ["POST", "OPTIONS"]],
  [PATHS.userinfo, ["GET", "POST", "OPTIONS"]],
  [PATHS.revoke, ["POST", "OPTIONS"]],
  [PATHS.introspect, ["POST", "OPTIONS"]],
  [PATHS.jwks, METADATA],
  [PATHS.openIdConfiguration, METADATA],
  [PATHS.metadata, METADATA],
]);

/**
 * Between a decision on the consent page and the redirect that carries it out another
 * user may have signed in, in another tab. Then the decision is dropped, and the result
 * is the address of the consent page, which asks the user who is signed in now.
 */
async function redirectOtherUser(pathname: string, userId: string | null): Promise<string | null> {
  const uid = pathname.startsWith(`${PATHS.authorize}/`) ? pathname.slice(PATHS.authorize.length + 1) : "";
  if (uid === "") return null;
  const { provider } = await authorizationServer();
  const interaction = await provider.Interaction.find(uid);
  const decidedBy = interaction?.result?.login?.accountId;
  if (interaction === undefined || decidedBy === undefined || decidedBy === userId) return null;
  interaction.result = undefined;
  await interaction.persist();
  return `/connect/${uid}`;
}

/** `temporarily_unavailable` of RFC 6749. Browsers get a page and no redirect, because redirect URIs are checked against the database. */
function away(pathname: string): OwnAnswer {
  const retry = { "retry-after": String(RETRY_AFTER_SECONDS) };
  return pathname.startsWith(PATHS.authorize) ? pageAnswer(503, awayPage(), retry) : jsonAnswer(503, AWAY, retry);
}

function fault(pathname: string): OwnAnswer {
  if (pathname.startsWith(PATHS.authorize)) return pageAnswer(500, errorPage({ error: FAULT.error }), {});
  return jsonAnswer(500, FAULT, {});
}

function tooMany(pathname: string, seconds: number): OwnAnswer {
  const retry = { "retry-after": String(seconds) };
  if (pathname !== PATHS.token) return pageAnswer(429, busyPage(seconds), retry);
  const error_description = `Too many requests from this address; wait ${seconds} s.`;
  return jsonAnswer(429, { error: "temporarily_unavailable", error_description }, retry);
}

function pageAnswer(status: number, body: string, headers: Record<string, string>): OwnAnswer {
  return { status, headers: { ...headers, "cache-control": "no-store", "content-type": "text/html; charset=utf-8" }, body };
}

/** Scripts of any origin may read it: it has no data of a user or app. */
function jsonAnswer(status: number, error: { error: string; error_description: string }, headers: Record<string, string>): OwnAnswer {
  const cors = { "access-control-allow-origin": "*", "access-control-expose-headers": "retry-after" };
  return {
    status,
    headers: { ...headers, ...cors, "cache-control": "no-store", "content-type": "application/json" },
    body: JSON.stringify(error),
  };
}
