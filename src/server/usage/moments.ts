import { env } from "#env";

/**
 * A request was begun at most this long before it was settled; but for holds that a
 * server left and a sweeper found later, which cost nothing.
 */
export function longestRequestMs(): number {
  return 2 * env.QUOTA_REQUEST_TIMEOUT_MS + 10 * 60_000;
}
