import OpenAI from "openai";
import { makeKey, makeLink, makeToken } from "../../src/testing/makers.ts";
import { call, chat, eventsOf, send } from "../client.ts";
import type { PostgresServer } from "../fixtures.ts";
import { expect, test } from "../fixtures.ts";
import { type Client, codeFor, formPost, makeClient, makePerson, originOf, type Person, redeem, Visitor } from "../oauth.ts";
import { arrange } from "../world.ts";

const path = "/v1/chat/completions";
const PRICE = 5; // ten input and five output tokens, without markup

/** Connects a user with an app that keeps tokens itself. */
async function connect(
  server: PostgresServer,
  options: { scope?: string; person?: Person; client?: Client; form?: [string, string][] } = {},
) {
  const person = options.person ?? (await makePerson(server.db));
  const client = options.client ?? (await makeClient(server.db));
  const issued = await codeFor(server, person, client, {
    authorize: { scope: options.scope ?? "credits.read credits.spend" },
    ...(options.form === undefined ? {} : { form: options.form }),
  });
  const answer = await redeem(server, client, issued);
  expect(answer.status, JSON.stringify(answer.json)).toBe(200);
  const tokens = answer.json as { access_token: string; refresh_token: string };
  return { person, client, token: tokens.access_token, refreshToken: tokens.refresh_token };
}

test.describe("a user's access token on /v1", () => {
  test("pays for JSON, streams and embeddings from the user's wallet", async ({ postgresServer: server }) => {
    const { person, token, client } = await connect(server);
    const answer = await call(server, path, { key: token, body: chat("hi") });
    expect(answer.status, answer.text).toBe(200);
    expect(answer.json.quota).toEqual({ credits_used: PRICE, balance_after: 1_000_000 - PRICE, billing_mode: "user" });

    const stream = await send(server, path, { key: token, body: chat("hi", { stream: true }) });
    const last = eventsOf(await stream.text()).findLast((event) => event !== "[DONE]" && event.quota !== undefined);
    expect(last.quota).toMatchObject({ billing_mode: "user", balance_after: 1_000_000 - PRICE - last.quota.credits_used });

    const embedded = await call(server, "/v1/embeddings", { key: token, body: { model: "text-embedding-3-small", input: "hi" } });
    expect(embedded.status, embedded.text).toBe(200);

    const usage = await server.db.prisma.usage.findMany({ where: { appId: client.appId } });
    expect(usage.map(({ apiKeyId, walletId }) => [apiKeyId, walletId])).toEqual(new Array(3).fill([null, person.walletId]));
    const spent = usage.reduce((sum, { base, markup }) => sum + base + markup, 0n);
    const balance = await call(server, "/v1/balance", { key: token });
    expect(balance.json).toEqual({
      wallet: "oauth_user",
      balance: 1_000_000 - Number(spent),
      available: 1_000_000 - Number(spent),
      held: 0,
      billing_mode: "user",
    });
  });

  test("works with OpenAI's client from a browser's origin, and /v1/me has its user", async ({ postgresServer: server }) => {
    const { person, token, client } = await connect(server, { scope: "openid email credits.read credits.spend" });
    const openai = new OpenAI({ apiKey: token, baseURL: `${server.url}/v1`, maxRetries: 0 });
    const completion = await openai.chat.completions.create({ model: "gpt-4o-mini", messages: [{ role: "user", content: "hi" }] });
    expect(completion.choices[0]?.message.content).toBeTruthy();
    const me = await call(server, "/v1/me", { key: token, headers: { origin: "https://app.example" } });
    expect(me.json).toMatchObject({
      object: "user",
      id: person.id,
      email: person.email,
      scope: "openid email credits.read credits.spend",
      app: { id: client.appId },
      usage_30d: { requests: 1, credits_used: PRICE },
    });
    const withoutEmail = await connect(server, { person, client });
    expect((await call(server, "/v1/me", { key: withoutEmail.token })).json).not.toHaveProperty("email");
  });

  test("allows only what its scopes grant: anything else is 403 insufficient_scope", async ({ postgresServer: server }) => {
    const [reads, spends, signsIn] = [
      await connect(server, { scope: "credits.read" }),
      await connect(server, { scope: "credits.spend" }),
      await connect(server, { scope: "openid" }),
    ];
    const refused = async (key: string, where: string, body?: unknown) => {
      const answer = await call(server, where, { key, ...(body === undefined ? {} : { body }) });
      expect([answer.status, answer.json.error.code], where).toEqual([403, "insufficient_scope"]);
      expect(answer.headers.get("www-authenticate")).toContain('error="insufficient_scope"');
    };
    await refused(reads.token, path, chat("hi"));
    await refused(signsIn.token, path, chat("hi"));
    await refused(signsIn.token, "/v1/balance");
    await refused(spends.token, "/v1/balance");
    await refused(spends.token, "/v1/me");
    expect((await call(server, "/v1/balance", { key: reads.token })).status).toBe(200);
    expect((await call(server, path, { key: spends.token, body: chat("hi") })).status).toBe(200);
    // The app's own data needs the app's key.
    for (const where of ["/v1/users", "/v1/users/anybody", "/v1/usage"]) await refused(reads.token, where);
    await refused(spends.token, "/v1/funding/credit", { external_user_id: "anybody", amount: 1 });
  });

  test("with X-Quota-User is 400, and an unknown token is 401 whatever else is wrong", async ({ postgresServer: server }) => {
    const { token } = await connect(server);
    for (const where of [path, "/v1/balance"]) {
      const body = where === path ? { body: chat("hi") } : {};
      const both = await call(server, where, { key: token, user: "anybody", ...body });
      expect([both.status, both.json.error.code, both.json.error.param]).toEqual([400, "bad_request", "X-Quota-User"]);
      const unknown = await call(server, where, { key: "x".repeat(43), user: "anybody", ...body });
      expect([unknown.status, unknown.json.error.code]).toEqual([401, "invalid_api_key"]);
    }
    const refused = await call(server, path, { key: "x".repeat(43), body: "not json" });
    expect(refused.status).toBe(401);
    const inQuery = await call(server, `/v1/balance?access_token=${token}`, {});
    expect(inQuery.status).toBe(401);
    const asKey = await call(server, "/v1/balance", { headers: { "x-api-key": token } });
    expect(asKey.status).toBe(401);
  });

  test("is bound by the user's limit and models from the next request on", async ({ postgresServer: server }) => {
    const { person, token, client } = await connect(server, { form: Object.entries({ decision: "allow", limited: "yes", limit: "0.01" }) });
    const link = await server.db.prisma.linkedUser.findFirstOrThrow({ where: { appId: client.appId, userId: person.id } });
    expect(link).toMatchObject({ monthlyLimit: 10_000n, byToken: true });
    expect((await call(server, path, { key: token, body: chat("hi", { max_tokens: 16 }) })).status).toBe(200);
    expect((await call(server, "/v1/balance", { key: token })).json).toMatchObject({ limit: 10_000, spent: PRICE });

    await server.db.prisma.linkedUser.update({ where: { id: link.id }, data: { allowedModels: ["gpt-4o"] } });
    const other = await call(server, path, { key: token, body: chat("hi") });
    expect([other.status, other.json.error.code]).toEqual([403, "model_not_allowed"]);
    const dear = await call(server, path, { key: token, body: { ...chat("hi ".repeat(30_000)), model: "gpt-4o" } });
    expect([dear.status, dear.json.error.code]).toEqual([402, "spending_limit_reached"]);
    await server.db.prisma.linkedUser.update({ where: { id: link.id }, data: { pausedAt: new Date() } });
    for (const where of [path, "/v1/balance"]) {
      const paused = await call(server, where, { key: token, ...(where === path ? { body: { ...chat("hi"), model: "gpt-4o" } } : {}) });
      expect([paused.status, paused.json.error.code]).toEqual([404, "not_found"]);
    }
  });

  test("ends with the link, whether user or app ends it; a refreshed token works, the revoked one does not", async ({
    postgresServer: server,
  }) => {
    const first = await connect(server);
    const balanceOf = async (key: string) => (await call(server, "/v1/balance", { key })).status;
    const refreshed = await formPost(server, "/oauth/token", first.client, {
      grant_type: "refresh_token",
      refresh_token: first.refreshToken,
    });
    const renewed = (refreshed.json as { access_token: string }).access_token;
    expect(await balanceOf(renewed)).toBe(200);
    await formPost(server, "/oauth/revoke", first.client, { token: renewed });
    expect(await balanceOf(renewed)).toBe(401);

    const second = await connect(server, { person: first.person, client: first.client });
    const link = await server.db.prisma.linkedUser.findFirstOrThrow({ where: { appId: first.client.appId, userId: first.person.id } });
    expect(await balanceOf(second.token)).toBe(200);
    const unlinked = await call(server, `/v1/users/${encodeURIComponent(link.externalUserId)}/link`, {
      method: "DELETE",
      key: first.client.key,
    });
    expect(unlinked.status).toBe(200);
    expect(await balanceOf(second.token)).toBe(401);
    expect((await call(server, path, { key: second.token, body: chat("hi") })).status).toBe(401);
  });

  test("with credits.read only is listed among the user's connected apps too", async ({ postgresServer: server }) => {
    const { person, client } = await connect(server, { scope: "credits.read" });
    const visitor = new Visitor(server);
    await visitor.signIn(person);
    const app = await server.db.prisma.app.findUniqueOrThrow({ where: { id: client.appId } });
    expect(await (await visitor.get(`${originOf(server)}/wallet`)).text()).toContain(app.name);
  });

  test("has Idempotency-Keys of its own: one user's answer is never replayed to another", async ({ postgresServer: server }) => {
    const client = await makeClient(server.db);
    const [one, two] = [await connect(server, { client }), await connect(server, { client })];
    const headers = { "idempotency-key": crypto.randomUUID() };
    const ask = (key: string) => call(server, path, { key, headers, body: chat("hi") });
    const [first, again, other] = [await ask(one.token), await ask(one.token), await ask(two.token)];
    expect([first.status, again.status, other.status]).toEqual([200, 200, 200]);
    expect(again.headers.get("idempotency-replayed")).toBe("true");
    expect(other.headers.get("idempotency-replayed")).toBeNull();
    expect(await server.db.prisma.usage.count({ where: { appId: client.appId } })).toBe(2);
  });

  test("and an API key get no balance without credits.read", async ({ postgresServer: server }) => {
    const { token, client, person } = await connect(server, {
      scope: "credits.spend",
      person: await makePerson(server.db, { credits: 5_000n }),
    });
    const link = await server.db.prisma.linkedUser.findFirstOrThrow({ where: { appId: client.appId, userId: person.id } });
    for (const as of [{ key: token }, { key: client.key, user: link.externalUserId }]) {
      const answer = await call(server, path, { ...as, body: chat("hi") });
      expect(answer.json.quota).toMatchObject({ credits_used: PRICE, balance_after: null });
      const dear = await call(server, path, { ...as, body: { ...chat("hi ".repeat(10_000)), model: "gpt-4o" } });
      expect([dear.status, dear.json.error.code]).toEqual([402, "insufficient_credits"]);
      expect(dear.json.error.message).not.toContain("$");
    }
  });

  test("replays a kept answer only while it is valid", async ({ postgresServer: server }) => {
    const { token, client } = await connect(server);
    const ask = () => call(server, path, { key: token, headers: { "idempotency-key": "once" }, body: chat("hi") });
    expect((await ask()).status).toBe(200);
    await server.db.prisma.linkedUser.updateMany({ where: { appId: client.appId }, data: { pausedAt: new Date() } });
    expect((await ask()).status).toBe(404);
  });

  test("and an API key together never overdraw a wallet", async ({ postgresServer: server }) => {
    // The wallet can hold seven requests of this size at once.
    const world = await arrange(server.db, { balance: 7n * 12n });
    const person = { id: world.user.id, walletId: world.user.walletId };
    const other = await makeLink(server.db, world.app.id, person, { externalUserId: "by-token" });
    const { token } = await makeToken(server.db, other);
    const key = await makeKey(server.db, world.app.id, "user");
    const answers = await Promise.all(
      Array.from({ length: 60 }, (_, index) =>
        call(server, path, {
          ...(index % 2 === 0 ? { key: token } : { key: key.secret, user: world.link.externalUserId }),
          body: chat("hi", { max_tokens: 16 }),
        }),
      ),
    );
    const paid = answers.filter(({ status }) => status === 200).length;
    expect(answers.every(({ status }) => status === 200 || status === 402)).toBe(true);
    expect(await world.balance()).toBe(7n * 12n - BigInt(paid) * BigInt(PRICE));
  });
});
