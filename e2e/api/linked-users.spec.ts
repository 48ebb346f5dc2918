import { makeLink, makeUser } from "../../src/testing/makers.ts";
import { call, chat } from "../client.ts";
import { expect, test } from "../fixtures.ts";
import { arrange } from "../world.ts";

const path = "/v1/chat/completions";

test("a lookup has exactly the seed's fields", async ({ postgresServer }) => {
  const world = await arrange(postgresServer.db, { balance: 450n });
  const answer = await call(postgresServer, `/v1/users/${world.as.user}`, { key: world.as.key });
  expect(answer.json).toEqual({
    user: { id: world.user.id, email: world.user.email, balance: 450 },
    linked_at: world.link.linkedAt.toISOString(),
  });
});

test("a lookup has the limit and the spending of a user who set one", async ({ postgresServer }) => {
  const world = await arrange(postgresServer.db, { monthlyLimit: 1_000n });
  const look = () => call(postgresServer, `/v1/users/${world.as.user}`, { key: world.as.key });
  expect((await look()).json).toMatchObject({ limit: 1_000, spent: 0, user: { balance: 1_000_000 } });
  await call(postgresServer, path, { ...world.as, body: chat("hi", { max_tokens: 100 }) });
  expect((await look()).json).toMatchObject({ limit: 1_000, spent: 5, user: { balance: 999_995 } });
  expect((await call(postgresServer, "/v1/balance", world.as)).json).toMatchObject({ limit: 1_000, spent: 5 });
});

test("a limit that is due is refilled at the next request, less what was spent this month", async ({ postgresServer }) => {
  const { db } = postgresServer;
  const world = await arrange(db, { monthlyLimit: 1_000n });
  for (const spent of [5, 10]) {
    await call(postgresServer, path, { ...world.as, body: chat("hi", { max_tokens: 100 }) });
    expect((await call(postgresServer, `/v1/users/${world.as.user}`, { key: world.as.key })).json.spent).toBe(spent);
    await db.prisma.linkedUser.update({ where: { id: world.link.id }, data: { limitPeriodEndsAt: new Date(Date.now() - 1_000) } });
    expect((await call(postgresServer, `/v1/users/${world.as.user}`, { key: world.as.key })).json.spent).toBe(spent);
  }
});

test("the pages of a list have every linked user once, newest first", async ({ postgresServer }) => {
  const { db } = postgresServer;
  const world = await arrange(db, { externalUserId: "first" });
  for (let number = 0; number < 6; number++)
    await makeLink(db, world.app.id, await makeUser(db, { credits: BigInt(number) }), { externalUserId: `user ${number}` });
  const everybody = ["user 5", "user 4", "user 3", "user 2", "user 1", "user 0", "first"];
  const all = await call(postgresServer, "/v1/users", { key: world.as.key });
  expect([all.json.data.map((each: { external_user_id: string }) => each.external_user_id), all.json.has_more]).toEqual([everybody, false]);
  expect(all.json.data[0]).toMatchObject({ external_user_id: "user 5", user: { balance: 5 } });
  for (const limit of [1, 2, 3, 7]) {
    const seen: string[] = [];
    let after = "";
    for (;;) {
      const page = await call(postgresServer, `/v1/users?limit=${limit}${after}`, { key: world.as.key });
      expect(page.json.data.length).toBeLessThanOrEqual(limit);
      seen.push(...page.json.data.map((each: { external_user_id: string }) => each.external_user_id));
      if (!page.json.has_more) break;
      after = `&starting_after=${encodeURIComponent(seen.at(-1) ?? "")}`;
    }
    expect(seen).toEqual(everybody);
  }
  // Another app does not see them.
  const other = await arrange(db, { externalUserId: "only" });
  expect((await call(postgresServer, "/v1/users", { key: other.as.key })).json.data).toHaveLength(1);
  expect((await call(postgresServer, "/v1/users?starting_after=first", { key: other.as.key })).status).toBe(400);
});

test("unlinking emits one event, also with two concurrent calls", async ({ postgresServer }) => {
  const { db } = postgresServer;
  const world = await arrange(db);
  const answers = await Promise.all(
    Array.from({ length: 8 }, () => call(postgresServer, `/v1/users/${world.as.user}/link`, { key: world.as.key, method: "DELETE" })),
  );
  expect(answers.map(({ status }) => status).sort()).toEqual([200, ...Array(7).fill(404)]);
  const events = await db.prisma.outboxEvent.findMany({ where: { appId: world.app.id } });
  expect(events.map(({ type, data }) => [type, (data as { external_user_id: string }).external_user_id])).toEqual([
    ["user.disconnected", world.as.user],
  ]);
});

test("a balance is the wallet that the same headers would bill", async ({ postgresServer }) => {
  const world = await arrange(postgresServer.db, { balance: 450n, developerBalance: 99n });
  expect((await call(postgresServer, "/v1/balance", world.as)).json).toEqual({
    wallet: "linked_user",
    external_user_id: world.as.user,
    balance: 450,
    available: 450,
    held: 0,
    billing_mode: "user",
  });
  expect((await call(postgresServer, "/v1/balance", { key: world.as.key })).json).toEqual({
    wallet: "developer",
    balance: 99,
    available: 99,
    held: 0,
    billing_mode: "developer",
  });
  expect((await call(postgresServer, "/v1/balance", { key: world.as.key, user: "nobody" })).status).toBe(404);
  expect((await call(postgresServer, "/v1/balance", { key: world.as.key, user: "" })).status).toBe(400);
});

test("/v1/me has the key, its app and the app's usage", async ({ postgresServer }) => {
  const world = await arrange(postgresServer.db, { billingMode: "user", markupBps: 2_000 });
  for (let repeat = 0; repeat < 3; repeat++) await call(postgresServer, path, { ...world.as, body: chat("hi") });
  const me = await call(postgresServer, "/v1/me", { key: world.as.key });
  expect(me.json).toEqual({
    object: "api_key",
    id: world.key.id,
    name: "Test key",
    fragment: `sk-quota-…${world.as.key.slice(-4)}`,
    billing_mode: "user",
    app: { id: world.app.id, name: "Test app" },
    usage_30d: { requests: 3, prompt_tokens: 30, completion_tokens: 15, credits_used: 18 },
  });
});

test.describe("usage", () => {
  type Item = {
    request_id: string;
    model: string;
    external_user_id: string | null;
    credits_used: number;
    prompt_tokens: number;
    completion_tokens: number;
    created_at: string;
    status: string;
  };

  test("lists requests by id, newest first, with filters, pages and sums that agree", async ({ postgresServer }) => {
    const { db } = postgresServer;
    const world = await arrange(db, { developerBalance: 1_000_000n, markupBps: 1_000 });
    const second = await makeLink(db, world.app.id, await makeUser(db, { credits: 1_000_000n }));
    const users = [world.as.user, second.externalUserId, undefined];
    const ids: string[] = [];
    for (let number = 0; number < 9; number++) {
      const answer = await call(postgresServer, path, {
        key: world.as.key,
        user: users[number % 3],
        body: chat("hi", { model: number % 2 === 0 ? "gpt-4o-mini" : "gpt-4o", stream: number === 4 }),
      });
      expect(answer.status).toBe(200);
      ids.unshift(answer.headers.get("x-request-id") as string);
    }
    // Failed requests are not listed.
    await call(postgresServer, path, { key: world.as.key, user: "nobody", body: chat("hi") });

    const list = async (query: string): Promise<Item[]> =>
      (await call(postgresServer, `/v1/usage?limit=100${query}`, { key: world.as.key })).json.data;
    const all = await list("");
    expect(all.map((each) => each.request_id)).toEqual(ids);
    expect(all.filter((each) => each.status !== "completed")).toEqual([]);

    expect((await list(`&external_user_id=${second.externalUserId}`)).map((each) => each.external_user_id)).toEqual(
      Array(3).fill(second.externalUserId),
    );
    expect((await list("&model=gpt-4o")).map((each) => each.model)).toEqual(Array(4).fill("gpt-4o"));
    expect(await list("&model=gpt-99")).toEqual([]);
    const moment = all[4]?.created_at as string;
    const [from, before] = [await list(`&start=${moment}`), await list(`&end=${moment}`)];
    expect([...from, ...before].map((each) => each.request_id)).toEqual(ids);
    expect(from.at(-1)?.created_at).toBe(moment);

    const paged: string[] = [];
    for (let after = ""; ; ) {
      const page = await call(postgresServer, `/v1/usage?limit=4${after}`, { key: world.as.key });
      paged.push(...page.json.data.map((each: Item) => each.request_id));
      if (!page.json.has_more) break;
      after = `&starting_after=${paged.at(-1)}`;
    }
    expect(paged).toEqual(ids);

    const groups: [string, (item: Item) => string | null][] = [
      ["user", (item) => item.external_user_id],
      ["model", (item) => item.model],
      ["day", (item) => item.created_at.slice(0, 10)],
    ];
    for (const [by, of] of groups) {
      const sums = (await call(postgresServer, `/v1/usage?group_by=${by}`, { key: world.as.key })).json.data;
      const expected = [...Map.groupBy(all, of)].map(([group, items]) => ({
        group,
        requests: items.length,
        prompt_tokens: items.reduce((sum, item) => sum + item.prompt_tokens, 0),
        completion_tokens: items.reduce((sum, item) => sum + item.completion_tokens, 0),
        credits_used: items.reduce((sum, item) => sum + item.credits_used, 0),
      }));
      const sorted = (rows: typeof expected) => rows.toSorted((a, b) => String(a.group).localeCompare(String(b.group)));
      expect(sorted(sums)).toEqual(sorted(expected));
    }
    expect((await call(postgresServer, "/v1/me", { key: world.as.key })).json.usage_30d).toMatchObject({
      requests: 9,
      credits_used: all.reduce((sum, item) => sum + item.credits_used, 0),
    });
  });

  test("of another app is not visible, not even by its request ids", async ({ postgresServer }) => {
    const [mine, theirs] = [await arrange(postgresServer.db), await arrange(postgresServer.db)];
    const bought = await call(postgresServer, path, { ...theirs.as, body: chat("hi") });
    await call(postgresServer, path, { ...mine.as, body: chat("hi") });
    const page = await call(postgresServer, `/v1/usage?starting_after=${bought.headers.get("x-request-id")}`, { key: mine.as.key });
    expect(page.json.data.every((each: Item) => each.external_user_id === mine.as.user)).toBe(true);
    expect((await call(postgresServer, `/v1/usage?external_user_id=${theirs.as.user}`, { key: mine.as.key })).json.data).toEqual([]);
  });
});

test.describe("a test key", () => {
  test("spends sandbox credits only, and sees only the sandbox", async ({ postgresServer }) => {
    const { db } = postgresServer;
    const world = await arrange(db, { billingMode: "test", developerBalance: 1_000n, markupBps: 5_000 });
    const { key } = world.as;
    const bought = await call(postgresServer, path, { key, user: "anybody", body: chat("hi", { max_tokens: 30 }) });
    expect(bought.json.quota).toMatchObject({ billing_mode: "test", external_user_id: "anybody" });
    const balance = await call(postgresServer, "/v1/balance", { key });
    expect(balance.json).toMatchObject({ wallet: "sandbox", billing_mode: "test", balance: bought.json.quota.balance_after });
    expect((await call(postgresServer, "/v1/balance", { key, user: "sandbox_empty" })).json.balance).toBe(0);
    expect((await call(postgresServer, "/v1/balance", { key, user: "sandbox_missing" })).status).toBe(404);

    expect((await call(postgresServer, "/v1/users/anybody", { key })).json.user).toMatchObject({
      email: "sandbox@example.com",
      balance: bought.json.quota.balance_after,
    });
    // A real linked user's id means the sandbox user for a `test` key.
    expect((await call(postgresServer, `/v1/users/${world.as.user}`, { key })).json.user.email).toBe("sandbox@example.com");
    expect((await call(postgresServer, "/v1/users/sandbox_empty", { key })).json.user.balance).toBe(0);
    expect((await call(postgresServer, "/v1/users/sandbox_missing", { key })).status).toBe(404);
    expect((await call(postgresServer, "/v1/users", { key })).json).toEqual({ data: [], has_more: false });
    expect((await call(postgresServer, `/v1/users/${world.as.user}/link`, { key, method: "DELETE" })).json).toEqual({ success: true });
    expect(await db.prisma.linkedUser.count({ where: { id: world.link.id } })).toBe(1);

    expect((await call(postgresServer, "/v1/usage", { key })).json.data).toMatchObject([
      { billing_mode: "test", external_user_id: "anybody", credits_used: bought.json.quota.credits_used },
    ]);
    expect([await world.balance(), await world.developerBalance()]).toEqual([1_000_000n, 1_000n]);
    const earnings = await db.prisma.accountDelta.count({ where: { accountId: world.app.earningsId } });
    expect(earnings).toBe(0);
  });

  test("never runs out of sandbox credits", async ({ postgresServer }) => {
    const world = await arrange(postgresServer.db, { billingMode: "test" });
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => call(postgresServer, path, { key: world.as.key, body: chat("hi", { max_tokens: 5 }) })),
    );
    expect(answers.map(({ status }) => status)).toEqual(Array(10).fill(200));
  });
});
