import { env } from "#env";
import { AppError } from "../platform/errors.ts";
import { processWide } from "../platform/process-wide.ts";
import { authenticateToken, type Credential } from "./credentials.ts";
import { MinuteCounts } from "./minute-counts.ts";

/**
 * Requests in the current minute, counted by this process: with n processes the limits are n times as high. An API key
 * has a limit for all its requests and one for each user that it names, so that one user cannot use up the limit of an
 * app's other users. All access tokens of one user for one app share that user's limit.
 */
const { keys, users, tokenOwners } = processWide("request counts", () => ({
  keys: new MinuteCounts(env.QUOTA_RATE_LIMIT_PER_MINUTE),
  users: new MinuteCounts(
    env.QUOTA_RATE_LIMIT_PER_USER_PER_MINUTE ??
      // A fifth of the key's limit, at least 60.
      Math.min(env.QUOTA_RATE_LIMIT_PER_MINUTE, Math.max(60, Math.ceil(env.QUOTA_RATE_LIMIT_PER_MINUTE / 5))),
  ),
  tokenOwners: new Map<string, string>(),
}));

/**
 * Counts one request and adds the X-RateLimit headers of the limit that has fewer requests left. A request beyond a
 * user's limit does not count for the key. Throws `rate_limit_exceeded` with Retry-After, and `invalid_api_key` for an
 * unknown token.
 */
export async function countRequest(
  { hash, byToken }: Credential,
  externalUserId: string | null,
  headers: Record<string, string>,
): Promise<void> {
  const credential = hash.toString("base64");
  const user = byToken ? await ownerOf(credential, hash) : externalUserId === null ? null : `${credential} ${externalUserId}`;
  if (byToken) return applyCount(headers, users.take(user as string));
  // Once the key's limit is used up, its requests add no names of users to the counts, which are bounded.
  if (user === null || keys.isUsedUp(credential)) return applyCount(headers, keys.take(credential));
  const theirs = users.take(user);
  if (theirs.exceeded) return applyCount(headers, theirs);
  const all = keys.take(credential);
  applyCount(headers, all.remaining < theirs.remaining ? all : theirs);
}

type Count = ReturnType<MinuteCounts["take"]>;

function applyCount(headers: Record<string, string>, nearest: Count): void {
  headers["x-ratelimit-limit"] = String(nearest.limit);
  headers["x-ratelimit-remaining"] = String(nearest.remaining);
  headers["x-ratelimit-reset"] = String(Math.ceil((Date.now() + nearest.msLeft) / 1000));
  if (!nearest.exceeded) return;
  throw new AppError("rate_limit_exceeded", {
    headers: { "retry-after": String(Math.max(1, Math.ceil(nearest.msLeft / 1000))) },
    ...(nearest.counts === users ? { message: "Too many requests for this user." } : {}),
  });
}

/** The user and app of a token. They never change, so they are cached. */
async function ownerOf(credential: string, hash: Credential["hash"]): Promise<string> {
  const known = tokenOwners.get(credential);
  if (known !== undefined) return known;
  const { appId, userId } = await authenticateToken(hash);
  const owner = `${appId} ${userId}`;
  if (tokenOwners.size >= MOST_CACHED) tokenOwners.delete(tokenOwners.keys().next().value as string);
  tokenOwners.set(credential, owner);
  return owner;
}

const MOST_CACHED = 20_000;
