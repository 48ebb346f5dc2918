import { type FakeUpstream, gate } from "../../src/testing/fake-upstream.ts";
import { completion, completionChunks, message, messageUsage, sse, usage } from "../../src/testing/upstream-answers.ts";
import { type Call, call, chat, marker, send } from "../client.ts";
import { expect, test } from "../fixtures.ts";
import { arrange, price, settled } from "../world.ts";

const path = "/v1/chat/completions";

test.describe("one wallet serves several requests at once", () => {
  test("12 requests whose longest answers cost $1.28 each run together under a limit of $5", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db, { balance: 20_000_000n, monthlyLimit: 5_000_000n });
    const text = marker();
    const all = gate();
    using seen = upstream.on(text, async () => {
      if (seen.requests.length === 12) all.open();
      await all.opened;
      return completion({ usage: usage(80, 40) });
    });
    const answers = await Promise.all(
      Array.from({ length: 12 }, () => call(postgresServer, path, { ...world.as, body: chat(text, { model: "gpt-5" }) })),
    );
    expect(answers.map(({ status, json }) => [status, json.quota?.credits_used])).toEqual(Array(12).fill([200, 500]));
    // Each request was told the limit that it got, and so was the provider.
    const limits = answers.map(({ headers }) => Number(headers.get("x-quota-max-tokens"))).sort((a, b) => a - b);
    expect(limits[0]).toBeGreaterThan(4_000);
    expect(seen.requests.map(({ body }) => body.max_completion_tokens as number).sort((a, b) => a - b)).toEqual(limits);
    expect(await world.balance()).toBe(20_000_000n - 12n * 500n);
  });

  test("a short request succeeds while a long one runs, on a wallet with $1 that the long one could use up", async ({
    postgresServer,
    upstream,
  }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    const release = gate();
    using seen = upstream.on(text, async ({ body }) => {
      if (body.model === "gpt-5") await release.opened;
      return completion({ usage: usage(10, 20) });
    });
    const long = call(postgresServer, path, { ...world.as, body: chat(text, { model: "gpt-5" }) });
    await seen.next();
    const short = await call(postgresServer, path, { ...world.as, body: chat(text, { max_tokens: 30 }) });
    expect([short.status, short.headers.get("x-quota-max-tokens")]).toEqual([200, null]);
    release.open();
    expect((await long).status).toBe(200);
  });

  test("the same on the embedded database, where the developer pays", async ({ start, upstream }) => {
    const server = await start({ upstream });
    const key = server.demo.api_keys.developer;
    const before = await call(server, "/v1/balance", { key });
    const gift = { external_user_id: server.demo.user.external_user_id, amount: before.json.balance - 1_000_000 };
    await call(server, "/v1/funding/credit", { key, body: gift, headers: { "idempotency-key": "all-but-one-dollar" } });
    const text = marker();
    const all = gate();
    using seen = upstream.on(text, async () => {
      if (seen.requests.length === 12) all.open();
      await all.opened;
      return completion({ usage: usage(80, 40) });
    });
    const models = Array.from({ length: 12 }, (_, index) => (index % 2 === 0 ? "gpt-5" : "gpt-4o-mini"));
    const answers = await Promise.all(models.map((model) => call(server, path, { key, body: chat(text, { model }) })));
    expect(answers.map(({ status }) => status)).toEqual(Array(12).fill(200));
    const spent = answers.reduce((sum, { json }) => sum + json.quota.credits_used, 0);
    expect((await call(server, "/v1/balance", { key })).json).toMatchObject({ balance: 1_000_000 - spent, held: 0 });
  });

  test("a message holds a share too, although its API requires a limit", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    const all = gate();
    using seen = upstream.on(text, async () => {
      if (seen.requests.length === 12) all.open();
      await all.opened;
      return message({ usage: messageUsage(10, 5) });
    });
    const body = { model: "claude-haiku-4-5", max_tokens: 64_000, messages: [{ role: "user", content: text }] };
    const answers = await Promise.all(Array.from({ length: 12 }, () => call(postgresServer, "/v1/messages", { ...world.as, body })));
    expect(answers.map(({ status }) => status)).toEqual(Array(12).fill(200));
    expect(seen.requests.map((each) => Number(each.body.max_tokens)).every((limit) => limit >= 2_048 && limit < 64_000)).toBe(true);
    expect(await world.usage()).toMatchObject(Array(12).fill({ shortfall: 0n }));
  });

  test("a wallet with enough credits lowers no limit", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db, { balance: 20_000_000n });
    const text = marker();
    using seen = upstream.on(text, ({ path: asked }) => (asked.endsWith("/messages") ? message() : completion()));
    const said = { messages: [{ role: "user", content: text }] };
    for (const [where, body] of [
      [path, { model: "gpt-5", ...said }],
      ["/v1/messages", { model: "claude-haiku-4-5", max_tokens: 64_000, ...said }],
    ] as const) {
      const answer = await call(postgresServer, where, { ...world.as, body });
      expect([answer.status, answer.headers.get("x-quota-max-tokens")]).toEqual([200, null]);
    }
    expect(seen.requests.map(({ body }) => [body.max_completion_tokens, body.max_tokens])).toEqual([
      [undefined, undefined],
      [undefined, 64_000],
    ]);
  });

  test("a client's own limit is held in full when the wallet can pay it", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db, { balance: 11_000n });
    const text = marker();
    using seen = upstream.on(text, completion());
    const answer = await call(postgresServer, path, { ...world.as, body: chat(text, { max_tokens: 16_000 }) });
    expect([answer.status, answer.headers.get("x-quota-max-tokens"), seen.requests[0]?.body.max_tokens]).toEqual([200, null, 16_000]);
    expect((await world.usage())[0]?.held).toBeGreaterThan(9_600n);
  });
});

test.describe("a request that needs credits which other requests hold", () => {
  for (const stream of [false, true]) {
    test(`waits for them, and is answered when they are returned${stream ? ", as a stream" : ""}`, async ({ postgresServer, upstream }) => {
      const { db } = postgresServer;
      const world = await arrange(db, { balance: 1_000n });
      using all = await holdAll(postgresServer, world, upstream);
      const text = marker();
      using seen = upstream.on(text, stream ? sse(completionChunks(["Hello"], { usage: usage(10, 5) })) : completion());
      const waiting = call(postgresServer, path, { ...world.as, body: chat(text, { stream }) });
      for (let turn = 0; turn < 5; turn++) await call(postgresServer, "/v1/balance", world.as);
      expect(seen.requests).toEqual([]);
      all.release();
      expect([(await all.running).status, (await waiting).status]).toEqual([200, 200]);
      await settled(db, world);
      expect(await world.balance()).toBe(1_000n - 2n * price(10, 5));
    });
  }

  test("waits on the embedded database too, for every kind of credential", async ({ start, upstream }) => {
    const server = await start({ upstream });
    const key = server.demo.api_keys.developer;
    const before = await call(server, "/v1/balance", { key });
    const gift = { external_user_id: server.demo.user.external_user_id, amount: before.json.balance - 1_000 };
    await call(server, "/v1/funding/credit", { key, body: gift, headers: { "idempotency-key": "all-but-little" } });
    using all = await holdAll(server, { as: { key } }, upstream);
    const waiting = Array.from({ length: 5 }, () => call(server, path, { key, body: chat(marker()) }));
    for (let turn = 0; turn < 5; turn++) await call(server, "/v1/balance", { key });
    all.release();
    expect((await Promise.all([all.running, ...waiting])).map(({ status }) => status)).toEqual(Array(6).fill(200));
  });

  test("is 429 credits_on_hold after the wait, with the held credits and Retry-After, and never 402", async ({
    start,
    ownDatabase,
    upstream,
  }) => {
    const server = await start({ upstream, databaseUrl: ownDatabase.url, env: { QUOTA_HOLD_WAIT_MS: "50" } });
    const world = await arrange(ownDatabase.db, { balance: 1_000n });
    using all = await holdAll(server, world, upstream);
    const refused = await call(server, path, { ...world.as, body: chat(marker()) });
    expect(refused.json.error).toMatchObject({
      code: "credits_on_hold",
      type: "rate_limit_error",
      held: 1_000,
      message: expect.stringMatching(
        /^Requests that are running hold \$0\.001; \$0\.00 is free, and this request may need \$0\.0000\d\d\.$/,
      ),
    });
    expect([refused.status, refused.headers.get("x-should-retry")]).toEqual([429, null]);
    expect(refused.headers.get("retry-after")).toMatch(/^[1-9]\d?$/);
    // For this request, the held credits would not be enough.
    const dear = await call(server, path, { ...world.as, body: chat("word ".repeat(20_000), { model: "gpt-5" }) });
    expect([dear.status, dear.json.error.code, dear.json.error.held]).toEqual([402, "insufficient_credits", undefined]);
    all.release();
    await all.running;
    expect((await call(server, path, { ...world.as, body: chat(marker()) })).status).toBe(200);
  });

  test("gets no figures when its payer did not grant credits.read, and does not wait with QUOTA_HOLD_WAIT_MS=0", async ({
    start,
    ownDatabase,
    upstream,
  }) => {
    const server = await start({ upstream, databaseUrl: ownDatabase.url, env: { QUOTA_HOLD_WAIT_MS: "0" } });
    const world = await arrange(ownDatabase.db, { balance: 1_000n });
    await ownDatabase.db.prisma.linkedUser.update({ where: { id: world.link.id }, data: { scope: "credits.spend" } });
    using all = await holdAll(server, world, upstream);
    const { status, json } = await call(server, path, { ...world.as, body: chat(marker()) });
    expect([status, json.error.code, json.error.held]).toEqual([429, "credits_on_hold", undefined]);
    expect(json.error.message).not.toMatch(/\d/);
    all.release();
    await all.running;
  });

  test("whose client hangs up while it waits is not carried out, with an Idempotency-Key or without", async ({
    postgresServer,
    upstream,
  }) => {
    const { db } = postgresServer;
    const world = await arrange(db, { balance: 1_000n });
    using all = await holdAll(postgresServer, world, upstream);
    const text = marker();
    using seen = upstream.on(text, completion());
    const client = new AbortController();
    const left = ([{}, { "idempotency-key": marker() }] as Record<string, string>[]).map((headers) =>
      send(postgresServer, path, { ...world.as, headers, body: chat(text), signal: client.signal }).catch(() => "left"),
    );
    for (let turn = 0; turn < 5; turn++) await call(postgresServer, "/v1/balance", world.as);
    client.abort();
    expect(await Promise.all(left)).toEqual(["left", "left"]);
    all.release();
    await all.running;
    await settled(db, world);
    expect(seen.requests).toEqual([]);
    expect(await world.balance()).toBe(1_000n - price(10, 5));
  });

  test("with an Idempotency-Key is billed once, and its replay does not wait", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db, { balance: 1_000n });
    const body = chat(marker());
    const headers = { "idempotency-key": marker() };
    using all = await holdAll(postgresServer, world, upstream);
    const waiting = call(postgresServer, path, { ...world.as, headers, body });
    for (let turn = 0; turn < 5; turn++) await call(postgresServer, "/v1/balance", world.as);
    all.release();
    await all.running;
    const answer = await waiting;
    expect(answer.status).toBe(200);
    using more = await holdAll(postgresServer, world, upstream);
    const replay = await call(postgresServer, path, { ...world.as, headers, body });
    expect([replay.text, replay.headers.get("idempotency-replayed")]).toEqual([answer.text, "true"]);
    more.release();
    await more.running;
    expect(await world.balance()).toBe(1_000n - 3n * price(10, 5));
  });

  test("with a test key does not wait: the sandbox wallet is refilled when needed", async ({ simulatedServer }) => {
    const key = simulatedServer.demo.api_keys.test;
    // Each request may cost $30, and a sandbox wallet is refilled to $100.
    const body = chat("Hello!", { model: "gpt-5.5", n: 8, max_tokens: 128_000 });
    const answers = await Promise.all(Array.from({ length: 12 }, () => call(simulatedServer, path, { key, body })));
    expect(answers.map(({ status, headers }) => [status, headers.get("x-quota-max-tokens")])).toEqual(Array(12).fill([200, null]));
  });
});

/** A request that holds all credits of a small wallet until it is released. */
async function holdAll(server: Parameters<typeof call>[0], { as }: { as: Call }, upstream: FakeUpstream) {
  const text = marker();
  const end = gate();
  const listener = upstream.on(text, async () => {
    await end.opened;
    return completion({ usage: usage(10, 5) });
  });
  const running = call(server, path, { ...as, body: chat(text, { max_tokens: 16_000 }) });
  await listener.next();
  return { running, release: end.open, [Symbol.dispose]: () => listener[Symbol.dispose]() };
}
