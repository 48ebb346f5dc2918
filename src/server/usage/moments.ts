import { env } from "#env";

/**
 * The smallest UUIDv7 of a moment: ids sort by time, so a range of time is a range
 * of ids, and the index on (app, id) serves both.
 */
export function firstIdAt(moment: Date): string {
  const time = Math.max(0, moment.getTime()).toString(16).padStart(12, "0");
  return `${time.slice(0, 8)}-${time.slice(8)}-7000-8000-000000000000`;
}

/**
 * A request was begun at most this long before it was settled; but for holds that a
 * server left and a sweeper found later, which cost nothing.
 */
export function longestRequestMs(): number {
  return 2 * env.QUOTA_REQUEST_TIMEOUT_MS + 10 * 60_000;
}
