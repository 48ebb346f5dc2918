import type { IncomingMessage } from "node:http";
import { processWide } from "../platform/process-wide.ts";

/** Who is signed in in a browser, and when they last showed who they are; null when the session does not know. */
export type SignedIn = { userId: string; signedInAt: Date | null };

/** Who is signed in in the browser that a request to the authorization server comes from. */
export const signedInOn = processWide("signed in on", () => new WeakMap<IncomingMessage, SignedIn>());

/** What an app asked of signing in (OpenID Connect Core §3.1.2.1), and when. */
export type AskedOfSignIn = {
  prompts: string[];
  /** Seconds; null for as long ago as may be. */
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
 * Whether a person has to show again who they are before an app may be told: the app
 * asked for it, or they did so longer ago than it takes. Once they have done it for
 * this request, it is done.
 */
export function mustSignInAgain(asked: AskedOfSignIn, signedInAt: Date | null, now = new Date()): boolean {
  // Without a time nobody could tell an app when it was.
  if (signedInAt === null) return true;
  if (signedInAt >= asked.beganAt) return false;
  if (asked.prompts.includes("login")) return true;
  return asked.maxAge !== null && now.getTime() - signedInAt.getTime() > asked.maxAge * 1000;
}
