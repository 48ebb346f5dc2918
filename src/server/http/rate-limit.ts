import { RateLimiterMemory, type RateLimiterRes } from "rate-limiter-flexible";
import { env } from "#env";
import { AppError } from "../platform/errors.ts";

/**
 * Requests of one API key in the running minute, counted by this process; with
 * several processes the limit is that many times as high.
 */
const shared = globalThis as unknown as { quotaRateLimiter?: RateLimiterMemory };
shared.quotaRateLimiter ??= new RateLimiterMemory({ points: env.QUOTA_RATE_LIMIT_PER_MINUTE, duration: 60 });
const limiter = shared.quotaRateLimiter;

/** Counts one request and adds the X-RateLimit headers; throws `rate_limit_exceeded` with Retry-After. */
export async function countRequest(key: string, headers: Record<string, string>): Promise<void> {
  let state: RateLimiterRes;
  let exceeded = false;
  try {
    state = await limiter.consume(key);
  } catch (error) {
    // Not by class: a page server may have loaded the library a second time.
    if (error instanceof Error) throw error;
    state = error as RateLimiterRes;
    exceeded = true;
  }
  headers["x-ratelimit-limit"] = String(env.QUOTA_RATE_LIMIT_PER_MINUTE);
  headers["x-ratelimit-remaining"] = String(Math.max(0, state.remainingPoints));
  headers["x-ratelimit-reset"] = String(Math.ceil((Date.now() + state.msBeforeNext) / 1000));
  if (exceeded)
    throw new AppError("rate_limit_exceeded", { headers: { "retry-after": String(Math.max(1, Math.ceil(state.msBeforeNext / 1000))) } });
}
