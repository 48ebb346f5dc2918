import { RateLimiterMemory } from "rate-limiter-flexible";
import { processWide } from "../platform/process-wide.ts";

/** Attempts an hour. Each server process counts its own. */
const limits = {
  /** Mails to one address. */
  mailsToAddress: 5,
  /** Sign-ups and resets asked for from one IP address. */
  mailsFromPlace: 40,
  /** Codes and tokens tried from one IP address. */
  guessesFromPlace: 100,
} as const;

export class TooManyAttempts extends Error {}

const limiters = processWide("attempts", () => new Map<string, RateLimiterMemory>());

/** Counts one attempt; throws TooManyAttempts when the hour's attempts are used up. */
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
