import { gate } from "../../src/testing/fake-upstream.ts";
import {
  BREAK_OFF,
  chunk,
  completion,
  completionChunks,
  delta,
  event,
  events,
  json,
  type Piece,
  usage,
} from "../../src/testing/upstream-answers.ts";
import { call, chat, marker, send } from "../client.ts";
import { expect, test } from "../fixtures.ts";
import { arrange, price, settled } from "../world.ts";

/** Attempts to get inference or credits without paying. */
const path = "/v1/chat/completions";

test("when a provider reports more than was held, the developer earns only the markup that the payer paid", async ({
  postgresServer,
  upstream,
}) => {
  const { db } = postgresServer;
  const world = await arrange(db, { balance: 1_000n, markupBps: 100_000 });
  const text = marker();
  using _ = upstream.on(text, completion({ usage: usage(10, 2_000_000_000) }));
  const answer = await call(postgresServer, path, { ...world.as, body: chat(text, { max_tokens: 16 }) });
  expect(answer.status).toBe(200);
  const [bought] = await world.usage();
  expect((bought?.base ?? 0n) + (bought?.markup ?? 0n)).toBeLessThanOrEqual(bought?.held ?? 0n);
  const earned = await db.prisma.accountDelta.aggregate({ where: { accountId: world.app.earningsId }, _sum: { amount: true } });
  const folded = await db.prisma.account.findUniqueOrThrow({ where: { id: world.app.earningsId } });
  expect((earned._sum.amount ?? 0n) + folded.available).toBe(bought?.markup);
});

test("hidden reasoning is billed as the provider counts it, also when the client hangs up right after the visible answer", async ({
  postgresServer,
  upstream,
}) => {
  const { db } = postgresServer;
  const world = await arrange(db, { balance: 100_000_000n });
  const text = marker();
  const goOn = gate();
  const chunks = completionChunks(["42."], { usage: usage(10, 20_006) });
  using seen = upstream.on(
    text,
    events(
      (async function* () {
        yield event(chunks[0]);
        yield event(chunk([delta({ content: "42." })]));
        await goOn.opened;
        yield event(chunk([delta({}, { finishReason: "stop" })]));
        yield event(chunk([], { usage: usage(10, 20_006) }));
        yield event("[DONE]");
      })(),
    ),
  );
  const hangUp = new AbortController();
  const response = await send(postgresServer, path, {
    ...world.as,
    body: { ...chat(text, { stream: true }), model: "gpt-6.1-sol" },
    signal: hangUp.signal,
  });
  const reader = (response.body as ReadableStream<Uint8Array>).getReader();
  let read = "";
  while (!read.includes("42.")) read += Buffer.from((await reader.read()).value ?? []).toString("utf8");
  hangUp.abort();
  await reader.read().catch(() => {});
  goOn.open();
  expect(await (await seen.next()).ended).toBe("answered");
  await settled(db, world);
  // The bill is the same whether or not the server had noticed that the client hung up.
  expect(await world.usage()).toMatchObject([{ countedBy: "provider", completionTokens: 20_006 }]);
});

test("a document in `functions` is counted, also for a wallet that can barely pay", async ({ postgresServer, upstream }) => {
  const world = await arrange(postgresServer.db, { balance: 4_000n });
  const text = marker();
  using seen = upstream.on(text, completion({ usage: usage(30_000, 1) }));
  const body = { ...chat(text, { max_tokens: 16 }), functions: [{ name: "f", description: "word ".repeat(30_000) }] };
  const answer = await call(postgresServer, path, { ...world.as, body });
  expect([answer.status, answer.json.error?.code]).toEqual([402, "insufficient_credits"]);
  expect(seen.requests).toHaveLength(0);
});

test("a provider that knows only max_tokens gets the limit under that name only", async ({ start, upstream, ownDatabase }) => {
  const server = await start({
    upstream,
    databaseUrl: ownDatabase.url,
    env: { DEEPSEEK_API_KEY: upstream.key, DEEPSEEK_BASE_URL: upstream.url },
  });
  const world = await arrange(ownDatabase.db);
  const text = marker();
  using seen = upstream.on(text, completion({ usage: usage(10, 5) }));
  const answer = await call(server, path, {
    ...world.as,
    body: { model: "deepseek-flash", max_completion_tokens: 5, messages: [{ role: "user", content: text }] },
  });
  expect(answer.status).toBe(200);
  expect(seen.requests[0]?.body.max_tokens).toBe(5);
  expect(seen.requests[0]?.body).not.toHaveProperty("max_completion_tokens");
});

for (const [what, answered] of [
  ["an error", { error: { message: "Provider returned error", code: 502 } }],
  ["nothing", {}],
  ["no choices", { id: "x", choices: [], usage: usage(10, 5) }],
] as const) {
  test(`${what} with status 200 is a failure, and costs nothing`, async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    using _ = upstream.on(text, json(answered));
    const answer = await call(postgresServer, path, { ...world.as, body: chat(text) });
    expect([answer.status, answer.json.error.code]).toEqual([502, "upstream_error"]);
    expect(await world.balance()).toBe(1_000_000n);
  });
}

test("a `test` key and a live one have separate Idempotency-Keys: the same one moves real credits", async ({ postgresServer }) => {
  const { db } = postgresServer;
  const { makeKey } = await import("../../src/testing/makers.ts");
  const world = await arrange(db, { developerBalance: 1_000n });
  const sandbox = await makeKey(db, world.app.id, "test");
  const body = { external_user_id: world.as.user, amount: 100 };
  const headers = { "idempotency-key": marker() };
  expect((await call(postgresServer, "/v1/funding/credit", { key: sandbox.secret, headers, body })).status).toBe(200);
  expect(await world.developerBalance()).toBe(1_000n);
  const live = await call(postgresServer, "/v1/funding/credit", { key: world.as.key, headers, body });
  expect([live.status, live.headers.get("idempotency-replayed")]).toEqual([200, null]);
  expect(await world.developerBalance()).toBe(900n);
});

for (const [field, extra] of [
  ["Max_Tokens", { Max_Tokens: 9_000 }],
  ["maxTokens", { maxTokens: 9_000 }],
  ["MODEL", { MODEL: "gpt-6-astra" }],
  ["service_tier", { service_tier: "priority" }],
  ["web_search_options", { web_search_options: {} }],
  ["tools", { tools: [{ type: "web_search" }] }],
  ["search_parameters", { search_parameters: { mode: "on" } }],
  ["modalities", { modalities: ["text", "audio"] }],
] as const) {
  test(`\`${field}\` is refused as a field that changes the price`, async ({ postgresServer }) => {
    const world = await arrange(postgresServer.db);
    const answer = await call(postgresServer, path, { ...world.as, body: { ...chat(marker()), ...extra } });
    expect([answer.status, answer.json.error.param]).toEqual([400, field]);
    expect(await world.usage()).toEqual([]);
  });
}

test("a markup that is raised after the user's consent does not raise the user's price", async ({ postgresServer, upstream }) => {
  const { db } = postgresServer;
  const world = await arrange(db, { markupBps: 2_000 });
  await db.prisma.linkedUser.update({ where: { id: world.link.id }, data: { agreedMarkupBps: 2_000 } });
  await db.prisma.app.update({ where: { id: world.app.id }, data: { markupBps: 100_000 } });
  const text = marker();
  using _ = upstream.on(text, completion({ usage: usage(20, 500) }));
  const answer = await call(postgresServer, path, { ...world.as, body: chat(text, { max_tokens: 500 }) });
  expect(answer.json.quota.credits_used).toBe(Number(price(20, 500, { markupBps: 2_000 })));
});

test("a test key can't make the simulator use up the server's memory or time", async ({ postgresServer }) => {
  const world = await arrange(postgresServer.db, { billingMode: "test" });
  const body = { model: "gpt-4o-mini", n: 64, messages: [{ role: "user", content: "simulate: long 16000" }] };
  const answer = await call(postgresServer, path, { key: world.as.key, body });
  expect(answer.status).toBe(200);
  expect(answer.json.usage.completion_tokens).toBeLessThanOrEqual(50_000);
  const dear = await call(postgresServer, path, { key: world.as.key, body: { ...body, logprobs: true, top_logprobs: 20 } });
  expect([dear.status, dear.json.error.message]).toEqual([400, expect.stringContaining("log probabilities")]);
});

test("an endless event of a provider ends in a failure, with bounded memory", async ({ postgresServer, upstream }) => {
  const world = await arrange(postgresServer.db);
  const text = marker();
  using _ = upstream.on(
    text,
    events(
      (async function* () {
        yield "data: ";
        for (let index = 0; index < 64; index++) yield "x".repeat(1024 * 1024);
      })(),
    ),
  );
  const answer = await call(postgresServer, path, { ...world.as, body: chat(text, { stream: true }) });
  expect(answer.text).toContain("upstream_error");
  await settled(postgresServer.db, world);
  expect(await world.balance()).toBe(1_000_000n);
});

test("usage that a provider reported before its stream broke off is billed", async ({ postgresServer, upstream }) => {
  const { db } = postgresServer;
  const world = await arrange(db);
  const text = marker();
  const pieces: Piece[] = completionChunks(["all of it"], { usage: usage(10, 5) }).map(event);
  using _ = upstream.on(text, events([...pieces, BREAK_OFF]));
  const answer = await call(postgresServer, path, { ...world.as, body: chat(text, { stream: true }) });
  expect(answer.text).toContain('"credits_used":5');
  expect(answer.text.endsWith("data: [DONE]\n\n")).toBe(true);
});
