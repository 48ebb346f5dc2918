import { RateLimiterMemory } from "rate-limiter-flexible";
import { env } from "#env";
import { processWide } from "../platform/process-wide.ts";

/**
 * Counts, in this process, the requests of each address in a minute: to /oauth/authorize, with the redirects back to
 * the app, and to /oauth/token.
 */
const limiter = processWide(
  "OAuth rate limiter",
  () => new RateLimiterMemory({ points: env.QUOTA_OAUTH_RATE_LIMIT_PER_MINUTE, duration: 60 }),
);

/** Counts a request; null when it is within the limit, else the seconds until it may be repeated. */
export async function countOAuthRequest(pathname: string, address: string): Promise<number | null> {
  const counted = /^\/oauth\/(authorize|token)(?:\/|$)/.exec(pathname)?.[1];
  if (counted === undefined) return null;
  try {
    await limiter.consume(`${counted} ${address}`);
    return null;
  } catch (refusal) {
    if (refusal instanceof Error) throw refusal;
    return Math.max(1, Math.ceil((refusal as { msBeforeNext: number }).msBeforeNext / 1000));
  }
}
