import { env } from "#env";

/**
 * The longest time in milliseconds between the start of a request and its settlement. A hold that a
 * stopped server left may be swept later than that, but it is settled at zero.
 */
export function longestRequestMs(): number {
  return 2 * env.QUOTA_REQUEST_TIMEOUT_MS + 10 * 60_000;
}
