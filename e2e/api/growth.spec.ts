import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import Anthropic from "@anthropic-ai/sdk";
import { streamText } from "ai";
import OpenAI from "openai";
import { balanceOf } from "../../src/server/ledger/accounts.ts";
import { gate } from "../../src/testing/fake-upstream.ts";
import {
  chunk,
  completion,
  completionChunks,
  delta,
  event,
  events,
  messageEvents,
  messageUsage,
  namedEvent,
  responseEvents,
  sse,
  usage,
} from "../../src/testing/upstream-answers.ts";
import { call, chat, eventsOf, marker, send } from "../client.ts";
import { expect, type PostgresServer, test } from "../fixtures.ts";
import { arrange, price, settled, type World } from "../world.ts";

const path = "/v1/chat/completions";
/** Each word is one token of six bytes. */
const words = (count: number) => Array.from({ length: count }, () => " hello");

test.describe("the hold of a stream", () => {
  test("grows with the delivered text: an answer that costs less than the wallet has arrives whole, although the hold began as a small share", async ({
    postgresServer,
    upstream,
  }) => {
    const { db } = postgresServer;
    // 4,000 tokens are 2,400 credits; bounded by bytes they would be 14,400, more than the wallet has.
    for (const [text, written] of [
      [marker(), (text: string) => upstream.on(text, sse(completionChunks(words(4_000), { usage: usage(10, 4_000) })))],
      // The same text in one piece from the network.
      [
        marker(),
        (text: string) =>
          upstream.on(
            text,
            events([
              completionChunks(words(4_000), { usage: usage(10, 4_000) })
                .map(event)
                .join(""),
            ]),
          ),
      ],
    ] as const) {
      const world = await arrange(db, { balance: 6_000n });
      using seen = written(text);
      const answer = await call(postgresServer, path, { ...world.as, body: chat(text, { stream: true }) });
      const chunks = eventsOf(answer.text).slice(0, -1);
      expect(chunks.map((each) => each.choices[0].delta.content ?? "").join("")).toBe(words(4_000).join(""));
      expect(chunks.at(-1)).toMatchObject({ choices: [{ finish_reason: "stop" }], quota: { credits_used: Number(price(10, 4_000)) } });
      expect([answer.headers.get("x-quota-max-tokens"), seen.requests[0]?.body.max_completion_tokens]).toEqual([null, undefined]);
      expect(await world.usage()).toMatchObject([{ outcome: "completed", countedBy: "provider", shortfall: 0n, completionTokens: 4_000 }]);
      expect(await world.balance()).toBe(6_000n - price(10, 4_000));
    }
  });

  test("does not grow when the wallet has eight times the price of the longest answer, nor for a short answer", async ({
    postgresServer,
    upstream,
  }) => {
    const { db } = postgresServer;
    for (const [balance, count] of [
      [1_000_000n, 4_000],
      [6_000n, 50],
    ] as const) {
      const world = await arrange(db, { balance });
      const text = marker();
      using _ = upstream.on(text, sse(completionChunks(words(count), { usage: usage(10, count) })));
      expect((await call(postgresServer, path, { ...world.as, body: chat(text, { stream: true }) })).status).toBe(200);
      const [bought] = await world.usage();
      expect(await db.prisma.holdGrowth.count({ where: { holdId: bought?.id ?? "" } })).toBe(0);
    }
  });

  test("grows to a bill that the delivered text did not show: hidden tokens, or JSON in place of a stream", async ({
    postgresServer,
    upstream,
  }) => {
    for (const answer of [sse(completionChunks(["x"], { usage: usage(10, 3_000) })), completion({ usage: usage(10, 3_000) })]) {
      const world = await arrange(postgresServer.db, { balance: 6_000n });
      const text = marker();
      using _ = upstream.on(text, answer);
      expect((await call(postgresServer, path, { ...world.as, body: chat(text, { stream: true }) })).status).toBe(200);
      expect(await world.usage()).toMatchObject([{ base: price(10, 3_000), shortfall: 0n }]);
      expect(await world.balance()).toBe(6_000n - price(10, 3_000));
    }
  });

  test("waits for credits that other requests hold before it ends the stream, and continues when they are returned", async ({
    postgresServer,
    upstream,
  }) => {
    const { db } = postgresServer;
    const world = await arrange(db, { balance: 3_000n });
    const [other, text] = [marker(), marker()];
    const release = gate();
    using running = upstream.on(other, async () => {
      await release.opened;
      return completion();
    });
    const [begun, more] = [gate(), gate()];
    using _ = upstream.on(
      text,
      events(
        (async function* () {
          yield event(chunk([delta({ content: " hello" })]));
          begun.open();
          await more.opened;
          yield completionChunks(words(2_500), { usage: usage(10, 2_501) })
            .slice(1)
            .map(event)
            .join("");
        })(),
      ),
    );
    const stream = call(postgresServer, path, { ...world.as, body: chat(text, { stream: true }) });
    await begun.opened;
    const holding = call(postgresServer, path, { ...world.as, body: chat(other, { max_tokens: 3_000 }) });
    await running.next();
    more.open();
    // The stream has taken the rest, and needs more credits.
    await expect.poll(async () => (await balanceOf(db.sql, world.user.walletId)).available).toBeLessThan(100n);
    release.open();
    expect((await holding).status).toBe(200);
    const chunks = eventsOf((await stream).text);
    expect(chunks.at(-2)).toMatchObject({ choices: [{ finish_reason: "stop" }] });
    expect(await world.balance()).toBe(3_000n - price(10, 2_501) - price(10, 5));
  });

  test("does not grow after the user has paused the app: the stream ends as at a limit", async ({ postgresServer, upstream }) => {
    const { db } = postgresServer;
    const world = await arrange(db, { balance: 6_000n });
    const text = marker();
    const [begun, more] = [gate(), gate()];
    using _ = upstream.on(
      text,
      events(
        (async function* () {
          yield event(chunk([delta({ content: " hello" })]));
          begun.open();
          await more.opened;
          yield* completionChunks(words(4_000), { usage: usage(10, 4_001) })
            .slice(1)
            .map(event);
        })(),
      ),
    );
    const stream = call(postgresServer, path, { ...world.as, body: chat(text, { stream: true }) });
    await begun.opened;
    await db.prisma.linkedUser.update({ where: { id: world.link.id }, data: { pausedAt: new Date() } });
    more.open();
    expect(eventsOf((await stream).text).at(-2)).toMatchObject({ choices: [{ finish_reason: "length" }] });
    const [bought] = await world.usage();
    // An eighth of the wallet pays for this many tokens.
    expect(bought?.completionTokens).toBeLessThan(1_250);
  });

  test("of several streams on one wallet never takes it below zero, and each stream ends with a finish_reason and [DONE]", async ({
    postgresServer,
    upstream,
  }) => {
    const { db } = postgresServer;
    const world = await arrange(db, { balance: 8_000n, monthlyLimit: 7_000n, markupBps: 1_000 });
    const text = marker();
    using _ = upstream.on(text, () => sse(completionChunks(words(3_000), { usage: usage(10, 3_000) })));
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => call(postgresServer, path, { ...world.as, body: chat(text, { stream: true }) })),
    );
    for (const answer of answers.filter(({ status }) => status === 200)) {
      const [last, done] = eventsOf(answer.text).slice(-2);
      expect([["stop", "length"].includes(last.choices[0].finish_reason), done]).toEqual([true, "[DONE]"]);
    }
    expect(answers.filter(({ status }) => ![200, 402, 429].includes(status))).toEqual([]);
    await settled(db, world);
    const bought = await world.usage();
    expect(bought.every(({ shortfall, base, markup, held }) => shortfall === 0n && base + markup <= held)).toBe(true);
    const spent = bought.reduce((sum, { base, markup }) => sum + base + markup, 0n);
    expect(await world.balance()).toBe(8_000n - spent);
    expect(spent).toBeLessThanOrEqual(7_000n);
    // The rest would not have paid for much more.
    expect(spent).toBeGreaterThan(6_000n);
  });

  test("on the embedded database ends the stream too when it cannot grow", async ({ start, upstream }) => {
    const server = await start({ upstream });
    const key = server.demo.api_keys.developer;
    const before = await call(server, "/v1/balance", { key });
    const gift = { external_user_id: server.demo.user.external_user_id, amount: before.json.balance - 2_000 };
    await call(server, "/v1/funding/credit", { key, body: gift, headers: { "idempotency-key": "all-but-little" } });
    const text = marker();
    using _ = upstream.on(text, sse(completionChunks(words(5_000), { usage: usage(10, 5_000) })));
    const answer = await call(server, path, { key, body: chat(text, { stream: true }) });
    const last = eventsOf(answer.text).at(-2);
    expect(last).toMatchObject({ choices: [{ finish_reason: "length" }], quota: { balance_after: 2_000 - last.quota.credits_used } });
    expect(last.quota.credits_used).toBeGreaterThan(1_700);
  });
});

test.describe("a stream whose payer can pay no more", () => {
  /** 2,000 credits for answers of gpt-4o-mini, in a stream of 5,000 tokens. */
  const poor = (server: PostgresServer) => arrange(server.db, { balance: 2_000n });

  const expectBilled = async (server: PostgresServer, world: World, said: string, credits: number) => {
    await settled(server.db, world);
    const [bought] = await world.usage();
    const tokens = said.length / " hello".length;
    // Exactly the delivered tokens are billed, which use up nearly the whole balance.
    expect(bought).toMatchObject({ outcome: "completed", countedBy: "tokenizer", shortfall: 0n, completionTokens: tokens });
    expect(Number((bought?.base ?? 0n) + (bought?.markup ?? 0n))).toBe(credits);
    expect(await world.balance()).toBe(2_000n - BigInt(credits));
    expect(credits).toBeGreaterThan(1_700);
  };

  test("of chat completions ends with finish_reason length, usage and quota, and the provider is stopped", async ({
    postgresServer,
    upstream,
  }) => {
    const world = await poor(postgresServer);
    const text = marker();
    using seen = upstream.on(text, endless(completionChunks(words(5_000)).slice(0, -1).map(event)));
    const body = chat(text, { stream: true, stream_options: { include_usage: true } });
    const answer = await call(postgresServer, path, { ...world.as, body });
    const chunks = eventsOf(answer.text);
    expect(chunks.pop()).toBe("[DONE]");
    const last = chunks.pop();
    expect(last).toMatchObject({ id: "chatcmpl-fake", choices: [], quota: { billing_mode: "user" } });
    expect(chunks.at(-1)).toEqual({ ...chunk([delta({}, { finishReason: "length" })]), usage: null, quota: last.quota });
    const said = chunks.map((each) => each.choices[0].delta.content ?? "").join("");
    expect(last.usage.completion_tokens).toBe(said.length / " hello".length);
    expect(await (await seen.next()).ended).toBe("aborted");
    await expectBilled(postgresServer, world, said, last.quota.credits_used);
  });

  test("with several choices ends each choice that had not ended", async ({ postgresServer, upstream }) => {
    const world = await poor(postgresServer);
    const text = marker();
    const both = words(3_000).flatMap((content) => [1, 2].map((index) => event(chunk([delta({ content }, { index })]))));
    const first = [delta({ content: " hello" }), delta({}, { finishReason: "stop" })].map((each) => event(chunk([each])));
    using _ = upstream.on(text, endless([...first, ...both]));
    const answer = await call(postgresServer, path, { ...world.as, body: chat(text, { stream: true, n: 3, max_tokens: 4_000 }) });
    const finishes = eventsOf(answer.text)
      .slice(0, -1)
      .flatMap(({ choices, quota }) =>
        choices.map((each: { index: number; finish_reason: string | null }) => [each.index, each.finish_reason, quota !== undefined]),
      )
      .filter(([, reason]) => reason !== null);
    expect(finishes).toEqual([
      [0, "stop", false],
      [1, "length", false],
      [2, "length", true],
    ]);
  });

  test("in the middle of a tool call ends it there, as providers do at a limit", async ({ postgresServer, upstream }) => {
    const world = await poor(postgresServer);
    const text = marker();
    const call_ = (rest: object) => event(chunk([delta({ tool_calls: [{ index: 0, ...rest }] })]));
    const args = words(5_000).map((each) => call_({ function: { arguments: each } }));
    using _ = upstream.on(
      text,
      endless([call_({ id: "call_1", type: "function", function: { name: "f", arguments: '{"a":"' } }), ...args]),
    );
    const answer = await call(postgresServer, path, { ...world.as, body: chat(text, { stream: true }) });
    const chunks = eventsOf(answer.text).slice(0, -1);
    expect(chunks.at(-1)).toMatchObject({ choices: [{ delta: {}, finish_reason: "length" }] });
    expect(chunks.length).toBeGreaterThan(2_000);
  });

  test("of the Messages API ends the block and the message with stop_reason max_tokens", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db, { balance: 12_000n });
    const text = marker();
    using seen = upstream.on(
      text,
      endless(
        messageEvents(words(5_000), { usage: messageUsage(10, 1) })
          .slice(0, -3)
          .map(namedEvent),
      ),
    );
    const body = { model: "claude-haiku-4-5", max_tokens: 64_000, stream: true, messages: [{ role: "user", content: text }] };
    const answer = await call(postgresServer, "/v1/messages", { ...world.as, body });
    const parts = namedEventsOf(answer.text);
    const said = parts.map((each) => each.delta?.text ?? "").join("");
    const tokens = said.length / " hello".length;
    expect(parts.slice(-3)).toEqual([
      { type: "content_block_stop", index: 0 },
      { type: "message_delta", delta: { stop_reason: "max_tokens", stop_sequence: null }, usage: { output_tokens: tokens } },
      { type: "message_stop", quota: expect.objectContaining({ billing_mode: "user" }) },
    ]);
    expect(answer.text).toContain('event: message_delta\ndata: {"type":"message_delta"');
    expect(seen.requests[0]?.body.max_tokens).toBe(64_000);
    // The provider counted the prompt; Quota's tokenizer counted the delivered text.
    expect(await world.usage()).toMatchObject([
      { promptTokens: 10, completionTokens: tokens, base: BigInt(10 + tokens * 5), shortfall: 0n },
    ]);
    // Of some 2,390 tokens that the wallet pays for: each word is counted as 2.25, as a newer tokenizer of Claude's might.
    expect(tokens).toBeGreaterThan(950);
  });

  test("of the Responses API ends its items and the response as incomplete", async ({ postgresServer, upstream }) => {
    const world = await poor(postgresServer);
    const text = marker();
    using _ = upstream.on(text, endless(responseEvents(words(5_000)).slice(0, -4).map(namedEvent)));
    const answer = await call(postgresServer, "/v1/responses", { ...world.as, body: { model: "gpt-4o-mini", input: text, stream: true } });
    const parts = namedEventsOf(answer.text);
    const said = parts.map((each) => (each.type === "response.output_text.delta" ? each.delta : "")).join("");
    expect(parts.slice(-4).map(({ type }) => type)).toEqual([
      "response.output_text.done",
      "response.content_part.done",
      "response.output_item.done",
      "response.incomplete",
    ]);
    expect(parts.map((each) => each.sequence_number)).toEqual(parts.map((_each, index) => index));
    const { response, quota } = parts.at(-1);
    expect(response).toMatchObject({
      id: "resp_fake",
      status: "incomplete",
      incomplete_details: { reason: "max_output_tokens" },
      output: [{ id: "msg_fake", status: "incomplete", content: [{ type: "output_text", text: said }] }],
      usage: { output_tokens: said.length / " hello".length },
      quota,
    });
    await expectBilled(postgresServer, world, said, quota.credits_used);
  });

  test("is an ordinary end to the official clients", async ({ postgresServer, upstream }) => {
    const { db, url } = postgresServer;
    const headers = (world: World) => ({ "X-Quota-User": world.as.user });
    const openai = (world: World) =>
      new OpenAI({ baseURL: `${url}/v1`, apiKey: world.as.key, defaultHeaders: headers(world), maxRetries: 0 });

    const [chatText, responseText, messageText] = [marker(), marker(), marker()];
    using _chat = upstream.on(chatText, () => endless(completionChunks(words(5_000)).slice(0, -1).map(event)));
    using _response = upstream.on(responseText, endless(responseEvents(words(5_000)).slice(0, -4).map(namedEvent)));
    using _message = upstream.on(messageText, endless(messageEvents(words(5_000)).slice(0, -3).map(namedEvent)));
    const messages = (content: string) => [{ role: "user" as const, content }];

    let world = await poor(postgresServer);
    const chatted = await openai(world)
      .chat.completions.stream({ model: "gpt-4o-mini", messages: messages(chatText) })
      .finalChatCompletion();
    expect(chatted.choices[0]?.finish_reason).toBe("length");
    expect(chatted.choices[0]?.message.content).toMatch(/^( hello){2000,}$/);

    world = await poor(postgresServer);
    const responded = await openai(world).responses.stream({ model: "gpt-4o-mini", input: responseText }).finalResponse();
    expect([responded.status, responded.incomplete_details?.reason]).toEqual(["incomplete", "max_output_tokens"]);
    expect(responded.output_text).toMatch(/^( hello){2000,}$/);

    world = await arrange(db, { balance: 12_000n });
    const anthropic = new Anthropic({ baseURL: url, apiKey: world.as.key, defaultHeaders: headers(world), maxRetries: 0 });
    const message = await anthropic.messages
      .stream({ model: "claude-haiku-4-5", max_tokens: 64_000, messages: messages(messageText) })
      .finalMessage();
    expect(message.stop_reason).toBe("max_tokens");
    expect(message.content).toEqual([expect.objectContaining({ type: "text", text: expect.stringMatching(/^( hello){1000,}$/) })]);

    world = await poor(postgresServer);
    const model = createOpenAICompatible({
      name: "quota",
      baseURL: `${url}/v1`,
      apiKey: world.as.key,
      headers: headers(world),
      includeUsage: true,
    });
    const streamed = streamText({ model: model("gpt-4o-mini"), prompt: chatText });
    expect(await streamed.finishReason).toBe("length");
    expect((await streamed.usage).outputTokens).toBeGreaterThan(2_000);
  });

  test("ends when its client hangs up, and the delivered text is billed", async ({ postgresServer, upstream }) => {
    const { db } = postgresServer;
    const world = await arrange(db, { balance: 3_000n });
    const text = marker();
    using _ = upstream.on(text, endless(completionChunks(words(5_000)).slice(0, -1).map(event)));
    const client = new AbortController();
    const response = await send(postgresServer, path, { ...world.as, body: chat(text, { stream: true }), signal: client.signal });
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    await reader.read();
    client.abort();
    reader.closed.catch(() => {});
    await settled(db, world);
    expect(await world.usage()).toMatchObject([{ outcome: "interrupted", countedBy: "tokenizer", shortfall: 0n }]);
    expect((await balanceOf(db.sql, world.user.walletId)).held).toBe(0n);
  });
});

/** The data of each named event. */
const namedEventsOf = (stream: string) => eventsOf(stream.replace(/^event: .*\n/gm, ""));

/** These events without an end, so that only Quota can end the stream. */
function endless(pieces: readonly string[]) {
  return events(
    (async function* () {
      yield* pieces;
      await new Promise(() => {});
    })(),
  );
}
