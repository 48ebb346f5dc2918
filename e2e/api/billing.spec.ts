import { balanceOf } from "../../src/server/ledger/accounts.ts";
import { completion, completionChunks, sse, usage } from "../../src/testing/upstream-answers.ts";
import { call, chat, eventsOf, marker, send } from "../client.ts";
import { expect, test } from "../fixtures.ts";
import { arrange, price, settled } from "../world.ts";

const path = "/v1/chat/completions";

test.describe("the price of a request", () => {
  for (const [name, reported, options, credits] of [
    ["a million tokens each way cost what the list says", usage(1_000_000, 1_000_000), {}, 750_000],
    ["a fraction of a credit is rounded up, once", usage(1, 1), {}, 1],
    ["seven tokens in are two credits, not one", usage(7, 0), {}, 2],
    ["exact credits stay exact", usage(20, 5), {}, 6],
    ["nothing used costs nothing", usage(0, 0), {}, 0],
    ["cached tokens have their own price", usage(1_000, 100, { cached_tokens: 800 }), {}, 150],
    ["cached tokens above the prompt do not make it cheaper than all cached", usage(1_000, 0, { cached_tokens: 5_000 }), {}, 75],
    ["markup is rounded up on the rounded base", usage(10, 5), { markupBps: 2_000 }, 6],
    ["the smallest markup is one credit", usage(10, 5), { markupBps: 1 }, 6],
    ["a markup of 100 % doubles", usage(2_000, 1_000), { markupBps: 10_000 }, 1_800],
    // Some providers count hidden reasoning in total_tokens and not in completion_tokens.
    ["tokens that are only in the total are output", { ...usage(100, 10), total_tokens: 510 }, {}, 261],
  ] as const) {
    for (const stream of [false, true]) {
      test(`${name}${stream ? ", as a stream" : ""}`, async ({ postgresServer, upstream }) => {
        const world = await arrange(postgresServer.db, { balance: 20_000_000n, ...options });
        const text = marker();
        using _ = upstream.on(text, stream ? sse(completionChunks(["x"], { usage: reported })) : completion({ usage: reported }));
        // The hold covers all usage that this provider reports.
        const answer = await call(postgresServer, path, {
          ...world.as,
          body: chat(text + "x".repeat(reported.prompt_tokens > 100_000 ? 1_000_000 : reported.prompt_tokens), {
            n: reported.completion_tokens > 100_000 ? 128 : 1,
            stream,
          }),
        });
        expect(answer.status).toBe(200);
        const quota = stream ? eventsOf(answer.text).findLast((event) => event.quota !== undefined)?.quota : answer.json.quota;
        expect(quota).toEqual({
          credits_used: credits,
          balance_after: 20_000_000 - credits,
          billing_mode: "user",
          external_user_id: world.as.user,
        });
        expect(await world.balance()).toBe(20_000_000n - BigInt(credits));
      });
    }
  }

  test("base goes to the platform and markup to the developer's earnings", async ({ postgresServer, upstream }) => {
    const { db } = postgresServer;
    const world = await arrange(db, { markupBps: 2_500 });
    const text = marker();
    using _ = upstream.on(text, completion({ usage: usage(400, 100) }));
    const answer = await call(postgresServer, path, { ...world.as, body: chat(`${text} ${"word ".repeat(400)}`) });
    expect(answer.json.quota.credits_used).toBe(150);
    expect(await world.usage()).toMatchObject([
      { base: 120n, markup: 30n, promptTokens: 400, completionTokens: 100, countedBy: "provider", outcome: "completed" },
    ]);
    expect((await balanceOf(db.sql, world.app.earningsId)).balance).toBe(30n);
  });

  test("the platform, never the payer, bears usage above the hold", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db, { balance: 100n });
    const text = marker();
    using _ = upstream.on(text, completion({ usage: usage(1_000_000, 1_000) }));
    const answer = await call(postgresServer, path, { ...world.as, body: chat(text, { max_tokens: 20 }) });
    expect(answer.status).toBe(200);
    const [bought] = await world.usage();
    expect(BigInt(answer.json.quota.credits_used)).toBe(bought?.held);
    expect(bought?.shortfall).toBe(150_600n - (bought?.held ?? 0n));
    expect(await world.balance()).toBe(100n - (bought?.held ?? 0n));
  });

  test("an answer without usage is counted by tokenizer", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    using _ = upstream.on(text, completion({ text: "hello world", usage: null }));
    const answer = await call(postgresServer, path, { ...world.as, body: chat(text) });
    const [bought] = await world.usage();
    expect(bought).toMatchObject({ countedBy: "tokenizer", completionTokens: 2, outcome: "completed" });
    expect(bought?.promptTokens).toBeGreaterThan(7);
    expect(answer.json.usage).toBeUndefined();
    expect(BigInt(answer.json.quota.credits_used)).toBe(price(bought?.promptTokens ?? 0, 2));
  });

  test("embeddings are billed for their input", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db, { markupBps: 2_000 });
    // text-embedding-3-small costs 20,000 credits for a million tokens.
    const answer = await call(postgresServer, "/v1/embeddings", {
      ...world.as,
      body: { model: "text-embedding-3-small", input: ["one", "two"] },
    });
    expect(answer.status).toBe(200);
    expect(answer.json.data).toHaveLength(2);
    expect(answer.json.quota).toMatchObject({ credits_used: 2, balance_after: 999_998 });
    expect(upstream.url).toContain("/v1");
  });
});

test.describe("a wallet that can pay for a part", () => {
  const ASKED = 1_000;
  const content = () => `${marker()} hello`;
  const bytes = (body: object) => Buffer.byteLength(JSON.stringify(body)) + 16;

  test("lowers max_tokens to what it can pay, upstream and in X-Quota-Max-Tokens", async ({ postgresServer, upstream }) => {
    const body = chat(content(), { max_tokens: ASKED });
    const prompt = BigInt(bytes(body));
    // Enough for the prompt and exactly 50 tokens.
    const world = await arrange(postgresServer.db, { balance: price(Number(prompt), 50) });
    using seen = upstream.on(body.messages[0]?.content ?? "", completion({ usage: usage(10, 50) }));
    const answer = await call(postgresServer, path, { ...world.as, body });
    expect(answer.status).toBe(200);
    const lowered = Number(answer.headers.get("x-quota-max-tokens"));
    expect(lowered).toBeGreaterThanOrEqual(50);
    expect(lowered).toBeLessThan(52);
    expect(seen.requests[0]?.body.max_tokens).toBe(lowered);
    expect(await world.balance()).toBe(price(Number(prompt), 50) - price(10, 50));
  });

  test("sets a limit on a request without one", async ({ postgresServer, upstream }) => {
    const body = chat(content());
    const world = await arrange(postgresServer.db, { balance: price(bytes(body), 100) });
    using seen = upstream.on(body.messages[0]?.content ?? "", completion());
    const answer = await call(postgresServer, path, { ...world.as, body });
    expect(seen.requests[0]?.body.max_completion_tokens).toBe(Number(answer.headers.get("x-quota-max-tokens")));
    expect(seen.requests[0]?.body.max_tokens).toBeUndefined();
  });

  test("divides what it can pay between several choices", async ({ postgresServer, upstream }) => {
    const body = chat(content(), { max_completion_tokens: ASKED, n: 4 });
    const world = await arrange(postgresServer.db, { balance: price(bytes(body), 400) });
    using seen = upstream.on(body.messages[0]?.content ?? "", completion());
    expect((await call(postgresServer, path, { ...world.as, body })).status).toBe(200);
    expect([100, 101]).toContain(seen.requests[0]?.body.max_completion_tokens);
  });

  test("is refused with 402 when fewer than 16 tokens fit", async ({ postgresServer, upstream }) => {
    const body = { ...chat("x".repeat(500), { max_tokens: ASKED }), user: marker() };
    // 500 bytes of x are about 63 tokens: also when the tokens are counted, 16 more are too expensive.
    const world = await arrange(postgresServer.db, { balance: 20n });
    using seen = upstream.on(body.user, completion());
    const answer = await call(postgresServer, path, { ...world.as, body });
    expect([answer.status, answer.json.error.code, answer.json.error.type]).toEqual([402, "insufficient_credits", "insufficient_quota"]);
    expect(seen.requests).toEqual([]);
    expect([await world.balance(), (await world.usage()).filter((bought) => bought.base > 0n)]).toEqual([20n, []]);
  });

  test("may ask for fewer than 16 tokens itself", async ({ postgresServer }) => {
    const body = chat("hi", { max_tokens: 3 });
    const world = await arrange(postgresServer.db, { balance: price(bytes(body), 3) });
    const answer = await call(postgresServer, path, { ...world.as, body });
    expect(answer.status).toBe(200);
    expect(answer.headers.get("x-quota-max-tokens")).toBeNull();
  });

  test("an empty wallet is 402", async ({ postgresServer }) => {
    const world = await arrange(postgresServer.db, { balance: 0n });
    for (const stream of [false, true]) {
      const answer = await call(postgresServer, path, { ...world.as, body: chat("hi", { stream }) });
      expect([answer.status, answer.json.error.code]).toEqual([402, "insufficient_credits"]);
    }
  });

  test("a used-up limit is 402 spending_limit_reached, and a partly used one lowers max_tokens", async ({ postgresServer, upstream }) => {
    const body = chat(content(), { max_tokens: ASKED });
    const limit = price(bytes(body), 40);
    const world = await arrange(postgresServer.db, { balance: 1_000_000n, monthlyLimit: limit });
    using seen = upstream.on(body.messages[0]?.content ?? "", completion({ usage: usage(bytes(body), 40) }));
    const first = await call(postgresServer, path, { ...world.as, body });
    expect(first.status).toBe(200);
    expect(seen.requests[0]?.body.max_tokens).toBe(Number(first.headers.get("x-quota-max-tokens")));
    const state = await call(postgresServer, `/v1/users/${world.as.user}`, { key: world.as.key });
    expect([state.json.limit, state.json.spent]).toEqual([Number(limit), Number(limit)]);
    const second = await call(postgresServer, path, { ...world.as, body });
    expect([second.status, second.json.error.code, second.json.error.type]).toEqual([402, "spending_limit_reached", "insufficient_quota"]);
    expect(await world.balance()).toBe(1_000_000n - limit);
  });

  test("a limit above the model's own is lowered to the model's", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db, { balance: 10_000_000n });
    for (const asked of [16_385, 1_000_000_000, Number.MAX_SAFE_INTEGER]) {
      const text = marker();
      using seen = upstream.on(text, completion());
      const answer = await call(postgresServer, path, { ...world.as, body: chat(text, { max_tokens: asked }) });
      expect([answer.status, seen.requests[0]?.body.max_tokens, answer.headers.get("x-quota-max-tokens")]).toEqual([200, 16_384, "16384"]);
    }
  });
});

test.describe("many at once", () => {
  test("200 parallel requests on a wallet that can pay for 10 bill ten and never go below zero, on Postgres", async ({
    postgresServer,
    upstream,
  }) => {
    const { db } = postgresServer;
    const body = JSON.stringify(chat(marker(), { max_tokens: 100 }));
    const prompt = Buffer.byteLength(body) + 16;
    const each = price(prompt, 100);
    const world = await arrange(db, { balance: each * 10n });
    using _ = upstream.on(JSON.parse(body).messages[0].content as string, completion({ usage: usage(prompt, 100) }));
    let lowest = each * 10n;
    let running = true;
    const watch = (async () => {
      while (running) {
        const { available } = await balanceOf(db.sql, world.user.walletId);
        if (available < lowest) lowest = available;
      }
    })();
    const answers = await Promise.all(Array.from({ length: 200 }, () => call(postgresServer, path, { ...world.as, body })));
    running = false;
    await watch;
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(10);
    const refused = answers.filter(({ status }) => status !== 200);
    expect(new Set(refused.map(({ status, json }) => `${status} ${json.error.code}`))).toEqual(new Set(["402 insufficient_credits"]));
    expect(answers.filter(({ status }) => status === 200).map(({ json }) => BigInt(json.quota.credits_used))).toEqual(Array(10).fill(each));
    expect(lowest).toBeGreaterThanOrEqual(0n);
    expect(await world.balance()).toBe(0n);
  });

  test("200 parallel streams of uneven price bill exactly what was delivered", async ({ postgresServer, upstream }) => {
    const { db } = postgresServer;
    const text = marker();
    const world = await arrange(db, { balance: 2_000n, markupBps: 1_500 });
    let number = 0;
    using _ = upstream.on(text, () => sse(completionChunks(["a", "b"], { usage: usage(20, 10 + (number++ % 90)) })));
    const answers = await Promise.all(
      Array.from({ length: 200 }, () => call(postgresServer, path, { ...world.as, body: chat(text, { stream: true, max_tokens: 100 }) })),
    );
    const billed = answers
      .filter(({ status }) => status === 200)
      .map(({ text: stream }) => BigInt(eventsOf(stream).findLast((event) => event.quota)?.quota.credits_used));
    expect(billed.length).toBeGreaterThan(10);
    expect(answers.filter(({ status }) => status !== 200 && status !== 402)).toEqual([]);
    await settled(db, world);
    expect(await world.balance()).toBe(2_000n - billed.reduce((sum, credits) => sum + credits, 0n));
  });

  test("200 parallel requests on a wallet that can pay for 10 bill ten and never go below zero, embedded", async ({ start, upstream }) => {
    const server = await start({ upstream });
    const key = server.demo.api_keys.developer;
    const body = JSON.stringify(chat(marker(), { max_tokens: 100 }));
    const prompt = Buffer.byteLength(body) + 16;
    // The demo app adds 20 %, and its developer pays here, after giving away all but the price of ten requests.
    const each = price(prompt, 100, { markupBps: 2_000 });
    const before = await call(server, "/v1/balance", { key });
    const gift = await call(server, "/v1/funding/credit", {
      key,
      body: { external_user_id: server.demo.user.external_user_id, amount: before.json.balance - Number(each) * 10 },
      headers: { "idempotency-key": "all-but-ten" },
    });
    expect(gift.status).toBe(200);
    using _ = upstream.on(JSON.parse(body).messages[0].content as string, completion({ usage: usage(prompt, 100) }));
    const lowest: number[] = [];
    const answers = await Promise.all(
      Array.from({ length: 200 }, async (_each, index) => {
        const answer = await call(server, path, { key, body });
        if (index % 20 === 0) lowest.push((await call(server, "/v1/balance", { key })).json.available as number);
        return answer;
      }),
    );
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(10);
    expect(new Set(answers.filter(({ status }) => status !== 200).map(({ status }) => status))).toEqual(new Set([402]));
    expect(Math.min(...lowest)).toBeGreaterThanOrEqual(0);
    expect((await call(server, "/v1/balance", { key })).json).toMatchObject({ balance: 0, available: 0, held: 0 });
    // Requests whose client did not wait for the answer are in the books too.
    expect((await (await send(server, "/v1/usage?group_by=model", { key })).json()).data).toMatchObject([
      { requests: 10, credits_used: Number(each) * 10 },
    ]);
  });
});
