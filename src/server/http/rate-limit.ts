import { env } from "#env";
import { AppError } from "../platform/errors.ts";
import { processWide } from "../platform/process-wide.ts";
import { authenticateToken, type Credential } from "./credentials.ts";
import { MinuteCounts } from "./minute-counts.ts";

/**
 * Requests in the running minute, counted by this process; with several processes the limits are that many
 * times as high. A key has a limit for all that it asks for, and one for each user that it names, so that no user of
 * an app can use up what the others need. A person's token has the latter, whichever of their tokens for
 * this app they send.
 */
const { keys, users, people } = processWide("request counts", () => ({
  keys: new MinuteCounts(env.QUOTA_RATE_LIMIT_PER_MINUTE),
  users: new MinuteCounts(
    env.QUOTA_RATE_LIMIT_PER_USER_PER_MINUTE ??
      // Of 600 it leaves room for five.
      Math.min(env.QUOTA_RATE_LIMIT_PER_MINUTE, Math.max(60, Math.ceil(env.QUOTA_RATE_LIMIT_PER_MINUTE / 5))),
  ),
  people: new Map<string, string>(),
}));

/**
 * Counts one request and adds the X-RateLimit headers, which tell of the limit that is nearest. A request that a
 * user has too many of does not count against the key. Throws `rate_limit_exceeded` with Retry-After,
 * and `invalid_api_key` for a token that is none.
 */
export async function countRequest(
  { hash, byToken }: Credential,
  externalUserId: string | null,
  headers: Record<string, string>,
): Promise<void> {
  const credential = hash.toString("base64");
  const user = byToken ? await personOf(credential, hash) : externalUserId === null ? null : `${credential} ${externalUserId}`;
  if (byToken) return tell(headers, users.take(user as string));
  // A key that has used up its own makes the counts of no more users.
  if (user === null || keys.isUsedUp(credential)) return tell(headers, keys.take(credential));
  const theirs = users.take(user);
  if (theirs.exceeded) return tell(headers, theirs);
  const all = keys.take(credential);
  tell(headers, all.remaining < theirs.remaining ? all : theirs);
}

type Count = ReturnType<MinuteCounts["take"]>;

function tell(headers: Record<string, string>, nearest: Count): void {
  headers["x-ratelimit-limit"] = String(nearest.limit);
  headers["x-ratelimit-remaining"] = String(nearest.remaining);
  headers["x-ratelimit-reset"] = String(Math.ceil((Date.now() + nearest.msLeft) / 1000));
  if (!nearest.exceeded) return;
  throw new AppError("rate_limit_exceeded", {
    headers: { "retry-after": String(Math.max(1, Math.ceil(nearest.msLeft / 1000))) },
    ...(nearest.counts === users ? { message: "Too many requests for this user." } : {}),
  });
}

/** The person and app of a token, which never change; the database is asked once for each token. */
async function personOf(credential: string, hash: Credential["hash"]): Promise<string> {
  const known = people.get(credential);
  if (known !== undefined) return known;
  const { appId, userId } = await authenticateToken(hash);
  const person = `${appId} ${userId}`;
  if (people.size >= MOST_KNOWN) people.delete(people.keys().next().value as string);
  people.set(credential, person);
  return person;
}

const MOST_KNOWN = 20_000;
