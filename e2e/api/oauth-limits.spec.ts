import { balanceOf } from "../../src/server/ledger/accounts.ts";
import { verify } from "../../src/server/ledger/verify.ts";
import { completion, usage } from "../../src/testing/upstream-answers.ts";
import { call, chat, marker } from "../client.ts";
import { expect, test } from "../fixtures.ts";
import { authorizeUrl, codeFor, formPost, HOSTED, makeClient, makePerson, originOf, pkce, redeem } from "../oauth.ts";

test.describe("the rate limit of one IP address", () => {
  test("applies to /oauth/authorize and /oauth/token separately: 429 with Retry-After, and a code is not used up", async ({
    start,
    ownDatabase,
  }) => {
    const server = await start({
      pages: true,
      databaseUrl: ownDatabase.url,
      env: { QUOTA_OAUTH_RATE_LIMIT_PER_MINUTE: "5", QUOTA_TRUSTED_PROXIES: "1" },
    });
    const client = await makeClient(ownDatabase.db);
    const issued = await codeFor(server, await makePerson(ownDatabase.db), client);
    const url = authorizeUrl(server, client, pkce().challenge);
    const open = (headers: Record<string, string> = {}) => fetch(url, { redirect: "manual", headers });

    // Getting the code took two of the five requests.
    for (let request = 0; request < 3; request++) expect((await open()).status).toBe(303);
    const refused = await open();
    expect([refused.status, refused.headers.get("location"), refused.headers.get("cache-control")]).toEqual([429, null, "no-store"]);
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(Number(refused.headers.get("retry-after"))).toBeLessThanOrEqual(60);
    expect(await refused.text()).toContain("Too many requests");
    // Another client's address behind the proxy has a limit of its own.
    expect((await open({ "x-forwarded-for": "192.0.2.7" })).status).toBe(303);

    for (let request = 0; request < 4; request++)
      expect((await redeem(server, client, issued, { redirect_uri: "http://localhost:1/" })).status).toBe(400);
    expect((await redeem(server, client, issued, { storage_mode: "somewhere" })).status).toBe(400);
    const busy = await redeem(server, client, issued);
    expect([busy.status, busy.json.error]).toEqual([429, "temporarily_unavailable"]);
    expect(Number(busy.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(busy.headers.get("cache-control")).toBe("no-store");
    // The code still works.
    const later = await redeem(server, client, issued, HOSTED, { headers: { "x-forwarded-for": "192.0.2.7" } });
    expect(later.status).toBe(200);
    for (let request = 0; request < 6; request++) {
      expect((await fetch(`${originOf(server)}/.well-known/openid-configuration`)).status).toBe(200);
      expect((await formPost(server, "/oauth/introspect", client, { token: "x" })).status).toBe(200);
    }
  });
});

test("of 100 parallel requests through a limit made by consent, exactly as many succeed as it covers", async ({
  postgresServer: server,
  upstream,
}) => {
  const { db } = server;
  const client = await makeClient(db);
  const person = await makePerson(db, { credits: 1_000_000_000n });
  const connect = async (as: string, limit: [string, string][], who = person) => {
    const issued = await codeFor(server, who, client, { form: [["decision", "allow"], ...limit] });
    expect((await redeem(server, client, issued, { ...HOSTED, external_user_id: as })).status).toBe(200);
  };
  const text = marker();
  const ask = (user: string, maxTokens: number) =>
    call(server, "/v1/chat/completions", { key: client.key, user, body: chat(text, { max_tokens: maxTokens }) });
  // The provider reports more than any hold, so each request costs exactly its worst case.
  using seen = upstream.on(text, completion({ usage: usage(1_000_000, 1_000_000) }));

  // A token is 0.6 credits, so some number of tokens costs a seventh of the limit, rounded down.
  // With another user, because what the app took from a user this month counts against a limit set later.
  await connect("measure", [["limited", "no"]], await makePerson(db, { credits: 1_000_000_000n }));
  const seventh = Math.floor(50_000 / 7);
  let maxTokens = 16;
  let cost = (await ask("measure", maxTokens)).json.quota.credits_used as number;
  maxTokens += Math.floor((seventh - cost) / 0.6);
  for (cost = 0; cost < seventh; maxTokens++) cost = (await ask("measure", maxTokens)).json.quota.credits_used as number;
  maxTokens--;
  expect(cost).toBe(seventh);
  expect(50_000 - 7 * cost, "what is left then buys nothing").toBeLessThan(16 * 0.6);

  await connect("parallel", [
    ["limited", "yes"],
    ["limit", "0.05"],
  ]);
  const before = seen.requests.length;
  const balanceBefore = (await balanceOf(db.sql, person.walletId)).balance;
  const answers = await Promise.all(Array.from({ length: 100 }, () => ask("parallel", maxTokens)));
  const passed = answers.filter(({ status }) => status === 200);
  const stopped = answers.filter(({ status, json }) => status === 402 && json.error.code === "spending_limit_reached");
  expect([passed.length, stopped.length]).toEqual([7, 93]);
  expect(seen.requests.length - before).toBe(7);
  for (const { json } of passed) expect(json.quota.credits_used).toBe(cost);

  const wallet = await balanceOf(db.sql, person.walletId);
  expect([wallet.balance, wallet.held]).toEqual([balanceBefore - 7n * BigInt(cost), 0n]);
  const user = await call(server, "/v1/users/parallel", { key: client.key });
  expect(user.json).toMatchObject({ limit: 50_000, spent: 7 * cost });
  const report = await verify(db.sql);
  expect([report.ok, report.discrepancies]).toEqual([true, []]);
});
