import { getToken } from "next-auth/jwt";
import { publicUrl } from "#env";
import type { SignedIn } from "../connect/sign-in.ts";
import { serverSecret } from "../platform/server-secret.ts";
import { ownerOfSession, type SessionClaims, type SessionOwner } from "./sessions.ts";

/**
 * Reads the signed-in user from a request's cookies without next-auth's handlers and without Next, so
 * that the node server can use it too. The cookie is next-auth's: a token encrypted with the server secret.
 */

/** The signed-in user, as pages and procedures get it. */
export type CurrentUser = SessionOwner & {
  /** When the user last signed in; null in a session from before cookies had this time. */
  signedInAt: Date | null;
};

/** The user of the session cookie in a `Cookie` header; null without one, or when its session has ended. A request without a session cookie needs no query. */
export async function userOfCookies(header: string): Promise<CurrentUser | null> {
  const cookies = new Map(
    header.split(/; */).map((pair) => {
      const [name = "", ...value] = pair.split("=");
      return [name.trim(), value.join("=")];
    }),
  );
  if (![...cookies.keys()].some((name) => SESSION_COOKIE.test(name))) return null;
  const token = await getToken({
    // next-auth reads cookies from a Map, and puts the numbered ones together; its type only knows Next's.
    req: { cookies, headers: {} } as never,
    secret: await serverSecret(),
    secureCookie: (process.env.NEXTAUTH_URL ?? publicUrl()).startsWith("https://"),
  });
  if (token === null) return null;
  const claims = claimsOf({ ...token, userId: token.sub });
  const owner = claims === null ? null : await ownerOfSession(claims);
  return owner === null ? null : { ...owner, signedInAt: typeof token.signedInAt === "number" ? new Date(token.signedInAt) : null };
}

/** The signed-in user in the shape that the authorization server takes. */
export async function signedInBy(cookieHeader: string): Promise<SignedIn | null> {
  const user = await userOfCookies(cookieHeader);
  return user === null ? null : { userId: user.id, signedInAt: user.signedInAt };
}

type RawClaims = { userId?: unknown; version?: unknown; session?: unknown };

/** The claims of a session cookie; a cookie from before session versions has version 0. */
export function claimsOf({ userId, version, session }: RawClaims): SessionClaims | null {
  if (typeof userId !== "string") return null;
  return { userId, version: typeof version === "number" ? version : 0, sessionId: typeof session === "string" ? session : null };
}

// next-auth splits a long cookie into numbered ones.
const SESSION_COOKIE = /^(__Secure-)?next-auth\.session-token(\.\d+)?$/;
