import type { IncomingMessage } from "node:http";
import { processWide } from "../platform/process-wide.ts";

/** The user who is signed in in a browser, and when the user last authenticated; null when the session does not have that time. */
export type SignedIn = { userId: string; signedInAt: Date | null };

/** The signed-in user of each request to the authorization server. */
export const signedInOn = processWide("signed in on", () => new WeakMap<IncomingMessage, SignedIn>());

/** What an app's request demands of the sign-in (OpenID Connect Core §3.1.2.1), and when the request began. */
export type AskedOfSignIn = {
  prompts: string[];
  /** Seconds since the last authentication; null without a bound. */
  maxAge: number | null;
  beganAt: Date;
};

export function askedOfSignIn(parameters: Record<string, unknown>, beganAt: Date): AskedOfSignIn {
  const { prompt, max_age: maxAge } = parameters;
  return {
    prompts: typeof prompt === "string" ? prompt.split(" ") : [],
    maxAge: maxAge === undefined ? null : Number(maxAge),
    beganAt,
  };
}

/**
 * Whether the user has to authenticate again before the app's request is answered: the
 * request has `prompt=login`, or the last authentication is older than `max_age`. Once
 * is enough for each request.
 */
export function mustSignInAgain(asked: AskedOfSignIn, signedInAt: Date | null, now = new Date()): boolean {
  // The id_token has to state the time (`auth_time`).
  if (signedInAt === null) return true;
  if (signedInAt >= asked.beganAt) return false;
  if (asked.prompts.includes("login")) return true;
  return asked.maxAge !== null && now.getTime() - signedInAt.getTime() > asked.maxAge * 1000;
}
