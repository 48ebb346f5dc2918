import { RateLimiterMemory } from "rate-limiter-flexible";
import { processWide } from "../platform/process-wide.ts";

/** How often something may be tried in an hour, counted by this process. */
const limits = {
  /** Mails that one address is sent. */
  mailsToAddress: 5,
  /** Sign-ups and resets asked for from one place. */
  mailsFromPlace: 40,
  /** Codes and tokens tried from one place. */
  guessesFromPlace: 100,
} as const;

export class TooManyAttempts extends Error {}

const limiters = processWide("attempts", () => new Map<string, RateLimiterMemory>());

/** Counts one attempt; throws TooManyAttempts when there were enough. */
export async function countAttempt(what: keyof typeof limits, key: string): Promise<void> {
  const limiter = limiters.get(what) ?? new RateLimiterMemory({ points: limits[what], duration: 60 * 60 });
  limiters.set(what, limiter);
  try {
    await limiter.consume(key);
  } catch (refusal) {
    if (refusal instanceof Error) throw refusal;
    throw new TooManyAttempts();
  }
}
