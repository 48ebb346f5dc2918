import { expect, test } from "vitest";
import { env } from "#env";
import { asTheDatabase, withDatabase } from "../../testing/database.ts";
import { makeApp, makeLink, makeToken, makeUser } from "../../testing/makers.ts";
import { countRequest } from "./rate-limit.ts";

const db = withDatabase("embedded");
asTheDatabase(db);

const OF_A_USER = env.QUOTA_RATE_LIMIT_PER_MINUTE / 5;

async function count(credential: { hash: Buffer<ArrayBuffer>; byToken: boolean }, user: string | null = null) {
  const headers: Record<string, string> = {};
  const refused = await countRequest(credential, user, headers).then(
    () => null,
    ({ code, headers: own }) => ({ code, retryAfter: Number(own["retry-after"]) }),
  );
  return { refused, limit: Number(headers["x-ratelimit-limit"]), remaining: Number(headers["x-ratelimit-remaining"]) };
}

test("all tokens of one user for one app share a limit, and those of another user do not", async () => {
  const app = await makeApp(db());
  const [one, other] = [await makeUser(db()), await makeUser(db())];
  const tokenOf = async (user: typeof one) => {
    const link = await makeLink(db(), app.id, user, { externalUserId: user.id });
    return async () => ({ hash: (await makeToken(db(), { id: link.id, appId: app.id, userId: user.id })).hash, byToken: true });
  };
  const fresh = await tokenOf(one);
  const tokens = [await fresh(), await fresh()];
  for (let left = OF_A_USER - 1; left >= 0; left--)
    expect(await count(tokens[left % 2] as (typeof tokens)[0])).toEqual({ refused: null, limit: OF_A_USER, remaining: left });
  const refused = { refused: { code: "rate_limit_exceeded", retryAfter: expect.any(Number) }, limit: OF_A_USER, remaining: 0 };
  expect(await count(await fresh())).toEqual(refused);
  expect(await count(await (await tokenOf(other))())).toMatchObject({ refused: null, remaining: OF_A_USER - 1 });
});

test("an unknown token is refused with invalid_api_key", async () => {
  expect(await count({ hash: Buffer.alloc(32), byToken: true })).toMatchObject({ refused: { code: "invalid_api_key" } });
});

test("requests that each name a new user use up the key's limit", async () => {
  const key = { hash: Buffer.from("a key"), byToken: false };
  for (let at = 0; at < env.QUOTA_RATE_LIMIT_PER_MINUTE; at++) expect((await count(key, `user ${at}`)).refused).toBe(null);
  for (const user of ["user 0", "another", null])
    expect(await count(key, user)).toMatchObject({ refused: { code: "rate_limit_exceeded" }, limit: env.QUOTA_RATE_LIMIT_PER_MINUTE });
});
