import Anthropic, { APIError, AuthenticationError, BadRequestError, NotFoundError } from "@anthropic-ai/sdk";
import { makeKey, makeToken } from "../../src/testing/makers.ts";
import type { ServerProcess } from "../../src/testing/server-process.ts";
import {
  BREAK_OFF,
  events,
  message,
  messageEvents,
  messageUsage,
  namedEvent,
  namedEvents,
  refusal,
} from "../../src/testing/upstream-answers.ts";
import { call, hangUpAfter, marker } from "../client.ts";
import { expect, type PostgresServer, test } from "../fixtures.ts";
import { arrange, settled, type World } from "../world.ts";

const path = "/v1/messages";

/** Anthropic's client with another address, another key and X-Quota-User. */
function client(server: Pick<ServerProcess, "url">, as: { key: string; user?: string }) {
  return new Anthropic({
    baseURL: server.url,
    apiKey: as.key,
    defaultHeaders: as.user === undefined ? {} : { "X-Quota-User": as.user },
    maxRetries: 0,
  });
}

const ask = (content: string) => ({ model: "claude-haiku-4-5", max_tokens: 1_000, messages: [{ role: "user" as const, content }] });
type WithQuota = { quota?: { credits_used: number; balance_after: number; billing_mode: string; external_user_id?: string } };

/** claude-haiku-4-5 costs 1 credit for an input token and 5 for an output token. */
const USED = messageUsage(10, 5);
const COST = 35;

async function failure(work: PromiseLike<unknown>): Promise<APIError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof APIError) return error;
    throw error;
  }
  throw new Error("it succeeded");
}

async function records({ db }: PostgresServer, world: World) {
  return db.prisma.usage.findMany({ where: { appId: world.app.id }, orderBy: { id: "asc" } });
}

test.describe("the Anthropic package", () => {
  test("gets a message, with quota, and the provider gets the key in x-api-key", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db, { markupBps: 2_000 });
    const text = marker();
    using seen = upstream.on(text, message());
    const answer = await client(postgresServer, world.as).messages.create(ask(text));
    expect(answer.content).toEqual([{ type: "text", text: "Hello there." }]);
    expect(answer.usage.output_tokens).toBe(5);
    expect((answer as WithQuota).quota).toEqual({
      credits_used: COST + 7,
      balance_after: 1_000_000 - COST - 7,
      billing_mode: "user",
      external_user_id: world.as.user,
    });
    expect(seen.requests.map((request) => request.path)).toEqual(["/v1/messages"]);
    const { headers } = await seen.next();
    expect([headers["x-api-key"], headers.authorization, headers["anthropic-version"]]).toEqual([upstream.key, undefined, "2026-10-21"]);
    expect(Object.keys(headers).sort()).toEqual([
      "accept-encoding",
      "anthropic-version",
      "connection",
      "content-length",
      "content-type",
      "host",
      "user-agent",
      "x-api-key",
    ]);
    expect(await records(postgresServer, world)).toMatchObject([
      { endpoint: path, model: "claude-haiku-4-5", provider: "anthropic", promptTokens: 10, completionTokens: 5, countedBy: "provider" },
    ]);
  });

  test("reads a stream to its end, with quota on message_stop, its last event", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    using _ = upstream.on(text, namedEvents(messageEvents(["Grüße ", "🦊"])));
    await test.step("event by event", async () => {
      const types: string[] = [];
      let quota: WithQuota["quota"];
      for await (const event of await client(postgresServer, world.as).messages.create({ ...ask(text), stream: true })) {
        types.push(event.type);
        quota = (event as WithQuota).quota ?? quota;
      }
      expect(types.slice(-3)).toEqual(["content_block_stop", "message_delta", "message_stop"]);
      expect(quota?.credits_used).toBe(COST);
    });
    await test.step("with its helper, which puts the message together", async () => {
      const stream = client(postgresServer, world.as).messages.stream(ask(text));
      let quota: WithQuota["quota"];
      stream.on("streamEvent", (event) => {
        quota = (event as WithQuota).quota ?? quota;
      });
      const whole = await stream.finalMessage();
      expect([whole.content[0], whole.usage.output_tokens]).toEqual([{ type: "text", text: "Grüße 🦊" }, 5]);
      expect(whole.stop_reason).toBe("end_turn");
      expect(quota).toMatchObject({ credits_used: COST, balance_after: 1_000_000 - 2 * COST });
    });
  });

  test("uses tools, in JSON and in a stream", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    const tool = { name: "get_weather", input_schema: { type: "object" as const, properties: { city: { type: "string" } } } };
    const used = { type: "tool_use", id: "toolu_1", name: "get_weather", input: { city: "Oslo" } };
    const [start] = messageEvents([]);
    using seen = upstream.on(text, [
      message({ content: [used], stopReason: "tool_use" }),
      namedEvents([
        start as object,
        { type: "content_block_start", index: 0, content_block: { ...used, input: {} } },
        { type: "content_block_delta", index: 0, delta: { type: "input_json_delta", partial_json: '{"city":' } },
        { type: "content_block_delta", index: 0, delta: { type: "input_json_delta", partial_json: '"Oslo"}' } },
        { type: "content_block_stop", index: 0 },
        { type: "message_delta", delta: { stop_reason: "tool_use", stop_sequence: null }, usage: { output_tokens: 5 } },
        { type: "message_stop" },
      ]),
    ]);
    const request = { ...ask(text), tools: [tool] };
    expect((await client(postgresServer, world.as).messages.create(request)).content).toEqual([used]);
    const streamed = await client(postgresServer, world.as).messages.stream(request).finalMessage();
    expect([streamed.content, streamed.stop_reason]).toEqual([[used], "tool_use"]);
    expect(seen.requests[0]?.body.tools).toEqual([tool]);
    expect(await world.balance()).toBe(1_000_000n - 2n * BigInt(COST));
  });

  test("gets an error with status and message", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const poor = await arrange(postgresServer.db, { balance: 20n });
    const text = marker();
    using _ = upstream.on(text, refusal(400, { type: "invalid_request_error", message: "prompt is too long: 9 tokens > 8 maximum" }));
    const told = async (as: { key: string; user?: string }, request: object = {}) => {
      const error = await failure(client(postgresServer, as).messages.create({ ...ask("hi"), ...request }));
      const body = error.error as { error: { code: string; param: string | null } };
      return { error, told: [error.status, body.error.code, body.error.param], message: error.apiMessage };
    };
    const noKey = await told({ ...world.as, key: "sk-quota-wrong" });
    expect([noKey.error instanceof AuthenticationError, noKey.told]).toEqual([true, [401, "invalid_api_key", null]]);
    const nobody = await told({ ...world.as, user: "nobody" });
    expect([nobody.error instanceof NotFoundError, nobody.told]).toEqual([true, [404, "not_found", null]]);
    expect((await told(poor.as)).told).toEqual([402, "insufficient_credits", null]);
    const otherDoor = await told(world.as, { model: "gpt-4o-mini" });
    expect([otherDoor.error instanceof BadRequestError, otherDoor.told]).toEqual([true, [400, "bad_request", "model"]]);
    expect(otherDoor.message).toContain("/v1/chat/completions");
    expect((await told(world.as, { model: "claude-none" })).told).toEqual([404, "model_not_found", "model"]);
    const refused = await told(world.as, ask(text));
    expect([refused.told, refused.message]).toEqual([[400, "bad_request", null], "prompt is too long: 9 tokens > 8 maximum"]);
    const search = await told(world.as, { tools: [{ type: "web_search_20250305", name: "web_search" }] });
    expect(search.told).toEqual([400, "bad_request", "tools"]);
    const beta = await failure(
      client(postgresServer, world.as).messages.create(ask("hi"), { headers: { "anthropic-beta": "context-1m-2025-08-07" } }),
    );
    expect([beta.status, beta.apiMessage]).toEqual([400, expect.stringContaining("context-1m-2025-08-07")]);
    expect([await world.balance(), await poor.balance()]).toEqual([1_000_000n, 20n]);
  });

  for (const [name, pieces] of [
    ["says that it is overloaded", [{ type: "error", error: { type: "overloaded_error", message: "secret backend 10.0.0.7" } }]],
    ["breaks the connection", [BREAK_OFF]],
    ["ends without an end", []],
  ] as const) {
    test(`raises when the provider ${name} in the middle of a stream, and nothing is billed`, async ({ postgresServer, upstream }) => {
      const world = await arrange(postgresServer.db);
      const text = marker();
      const whole = [...messageEvents(["Hello"]).slice(0, 4), ...pieces].map((each) =>
        typeof each === "symbol" ? each : namedEvent(each),
      );
      using _ = upstream.on(text, events(whole));
      const error = await failure(client(postgresServer, world.as).messages.stream(ask(text)).finalMessage());
      expect([error.type, error.apiMessage]).toEqual(["api_error", expect.stringContaining("Nothing was billed")]);
      expect(error.message).not.toContain("10.0.0.7");
      await settled(postgresServer.db, world);
      expect(await world.usage()).toMatchObject([{ outcome: "failed", base: 0n, upstreamStatus: 200 }]);
      expect(await world.balance()).toBe(1_000_000n);
    });
  }

  test("works with the simulator and a `test` key: text, a stream, a tool and its result", async ({ postgresServer }) => {
    const world = await arrange(postgresServer.db);
    const sandbox = client(postgresServer, { key: (await makeKey(postgresServer.db, world.app.id, "test")).secret });
    const { data, response } = await sandbox.messages.create(ask("What is a volcano?")).withResponse();
    expect(response.headers.get("x-quota-simulated")).toBe("true");
    expect([data.stop_reason, (data as WithQuota).quota?.billing_mode]).toEqual(["end_turn", "test"]);
    const whole = await sandbox.messages.stream(ask("What is a volcano?")).finalMessage();
    expect([whole.content, whole.usage.output_tokens]).toEqual([data.content, data.usage.output_tokens]);
    const tools = [
      { name: "get_weather", input_schema: { type: "object" as const, properties: { city: { type: "string" } }, required: ["city"] } },
    ];
    const question = ask("What is the weather in Oslo?");
    for (const answered of [
      await sandbox.messages.create({ ...question, tools }),
      await sandbox.messages.stream({ ...question, tools }).finalMessage(),
    ]) {
      expect(answered.stop_reason).toBe("tool_use");
      const used = answered.content[0];
      if (used?.type !== "tool_use") throw new Error("no tool was used");
      expect([used.name, used.input]).toEqual(["get_weather", { city: expect.any(String) }]);
      const result = { type: "tool_result" as const, tool_use_id: used.id, content: '{"sky":"clear"}' };
      const messages = [
        ...question.messages,
        { role: "assistant" as const, content: answered.content },
        { role: "user" as const, content: [result] },
      ];
      const last = await sandbox.messages.create({ ...question, tools, messages });
      expect(last.content[0]).toMatchObject({ type: "text", text: expect.stringContaining("clear") });
    }
    expect((await failure(sandbox.messages.create(ask("simulate: error 429")))).status).toBe(429);
    const long = await sandbox.messages.create({ ...ask("simulate: long 500"), max_tokens: 20 });
    expect([long.stop_reason, long.usage.output_tokens]).toEqual(["max_tokens", 20]);
    expect((await failure(sandbox.messages.stream(ask("simulate: disconnect")).finalMessage())).type).toBe("api_error");
  });
});

test.describe("a message", () => {
  test("reaches the provider byte for byte, and its answer returns byte for byte, with quota appended", async ({
    postgresServer,
    upstream,
  }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    const body = `{ "model":"claude-haiku-4-5", "max_tokens" : 50 ,"x_new":{"big":9223372036854775807}, "temperature":1.0e0, "metadata":{"user_id":"u"},
      "system":[{"type":"text","text":"é \\u00e9","cache_control":{"type":"ephemeral"}}], "messages":[{"role":"user","content":"${text}"}] }`;
    const answered =
      '{ "type":"message", "id":"x","role":"assistant","model":"m","content":[],"stop_reason":"end_turn","big":9223372036854775807,"usage":{"input_tokens":10,"output_tokens":5} }\n';
    using seen = upstream.on(text, { body: [answered] });
    const answer = await call(postgresServer, path, {
      ...world.as,
      headers: { "anthropic-beta": "prompt-caching-2024-07-31", "x-secret": "s" },
      body,
    });
    expect(seen.requests.map(({ rawBody, headers }) => [rawBody, headers["anthropic-beta"], headers["x-secret"]])).toEqual([
      [body, "prompt-caching-2024-07-31", undefined],
    ]);
    const quota = `{"credits_used":${COST},"balance_after":${1_000_000 - COST},"billing_mode":"user","external_user_id":${JSON.stringify(world.as.user)}}`;
    expect(answer.text).toBe(answered.replace(" }\n", ` ,"quota":${quota}}\n`));
  });

  test("is billed for tokens read from and written to the prompt cache, each at its price", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    const cached = [{ type: "text", text: text.repeat(300), cache_control: { type: "ephemeral", ttl: "1h" } }];
    const usage = messageUsage(10, 5, { read: 1_000, written: 200, long: 300 });
    using _ = upstream.on(text, [message({ usage }), namedEvents(messageEvents(["Hello"], { usage }))]);
    // 10 plain input tokens, 1,000 at a tenth, 200 at 1.25, 300 at 2, and 5 output tokens at 5.
    const cost = 10 + 100 + 250 + 600 + 25;
    const json = await call(postgresServer, path, { ...world.as, body: { ...ask("hi"), system: cached } });
    expect(json.json.quota.credits_used).toBe(cost);
    const stream = await call(postgresServer, path, { ...world.as, body: { ...ask("hi"), system: cached, stream: true } });
    expect(stream.text).toContain(`"credits_used":${cost},`);
    expect(await world.usage()).toMatchObject([
      { promptTokens: 1_510, cachedTokens: 1_000, completionTokens: 5, shortfall: 0n },
      { promptTokens: 1_510, cachedTokens: 1_000, completionTokens: 5, shortfall: 0n },
    ]);
  });

  test("has its limit lowered to what the wallet can pay, and is refused when that is too little", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db, { balance: 400n });
    const text = marker();
    using seen = upstream.on(text, message());
    const body = (rest: object = {}) => ({ ...ask(text), max_tokens: 64_000, ...rest });
    const answer = await call(postgresServer, path, { ...world.as, body: body() });
    const lowered = Number(answer.headers.get("x-quota-max-tokens"));
    expect(lowered).toBeGreaterThanOrEqual(16);
    expect(lowered).toBeLessThan(80);
    expect(seen.requests.map(({ rawBody }) => rawBody)).toEqual([JSON.stringify(body({ max_tokens: lowered }))]);
    // A thinking budget above the lowered limit.
    const thinking = { type: "enabled", budget_tokens: 1_024 };
    const refused = await call(postgresServer, path, { ...world.as, body: body({ thinking }) });
    expect([refused.status, refused.json.error.code]).toEqual([402, "insufficient_credits"]);
    expect(seen.requests).toHaveLength(1);
    expect(await world.balance()).toBe(400n - BigInt(COST));
  });

  test("is paid within the user's limit, for allowed models only, by key or by token", async ({ postgresServer, upstream }) => {
    const { db } = postgresServer;
    const text = marker();
    using _ = upstream.on(text, message());
    const limited = await arrange(db, { monthlyLimit: 60n, userAllows: ["claude-haiku-4-5"] });
    // Bounded by bytes, with 16 tokens of output, this body costs more than the limit.
    const over = await call(postgresServer, path, { ...limited.as, body: ask(text) });
    expect([over.status, over.json.error.code]).toEqual([402, "spending_limit_reached"]);
    const world = await arrange(db, { userAllows: ["claude-haiku-4-5"] });
    const other = await call(postgresServer, path, { ...world.as, body: { ...ask(text), model: "claude-opus-4-6" } });
    expect([other.status, other.json.error.code]).toEqual([403, "model_not_allowed"]);
    const { token } = await makeToken(db, world.link, { scope: "credits.read credits.spend" });
    const byToken = new Anthropic({ baseURL: postgresServer.url, authToken: token, apiKey: null, maxRetries: 0 });
    const answer = await byToken.messages.create(ask(text));
    expect((answer as WithQuota).quota).toMatchObject({ credits_used: COST, balance_after: 1_000_000 - COST });
  });

  test("with an Idempotency-Key is replayed, and billed once", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    using seen = upstream.on(text, message());
    const request = { ...world.as, headers: { "idempotency-key": text }, body: ask(text) };
    const first = await call(postgresServer, path, request);
    const again = await call(postgresServer, path, request);
    expect([again.status, again.headers.get("idempotency-replayed"), again.text]).toEqual([200, "true", first.text]);
    const other = await call(postgresServer, path, { ...request, body: { ...ask(text), temperature: 0 } });
    expect([other.status, other.json.error.code]).toEqual([409, "idempotency_conflict"]);
    expect(seen.requests).toHaveLength(1);
    expect(await world.balance()).toBe(1_000_000n - BigInt(COST));
  });

  test("without usage is counted by tokenizer", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    using _ = upstream.on(text, message({ content: [{ type: "text", text: "hello world" }], usage: null }));
    const answer = await call(postgresServer, path, { ...world.as, body: ask(text) });
    const [bought] = await world.usage();
    expect(bought).toMatchObject({ countedBy: "tokenizer", completionTokens: 2 });
    expect(answer.json.quota.credits_used).toBe((bought?.promptTokens ?? 0) + 10);
  });

  test("whose answer is no message is not billed", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    for (const body of ['{"type":"error","error":{"type":"api_error","message":"secret"}}', '{"type":"message"}', "<html>", "[]"]) {
      const text = marker();
      using _ = upstream.on(text, { body: [body] });
      const answer = await call(postgresServer, path, { ...world.as, body: ask(text) });
      expect([answer.status, answer.json.error.code]).toEqual([502, "upstream_error"]);
    }
    expect(await world.balance()).toBe(1_000_000n);
  });
});

test.describe("a client that hangs up on a message", () => {
  test("pays for the prompt as the provider counted it and for the delivered text; the provider is stopped", async ({
    postgresServer,
    upstream,
  }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    const usage = messageUsage(10, 0, { read: 100 });
    using seen = upstream.on(
      text,
      events(
        (async function* () {
          yield messageEvents(["hello world"], { usage }).slice(0, 4).map(namedEvent).join("");
          await new Promise(() => {});
        })(),
      ),
    );
    await hangUpAfter(postgresServer, path, world.as, [{ ...ask(text), stream: true }], "hello world");
    expect(await (await seen.next()).ended).toBe("aborted");
    await settled(postgresServer.db, world);
    // 10 plain input tokens, 100 at a tenth, and two output tokens.
    expect(await world.usage()).toMatchObject([
      { outcome: "interrupted", countedBy: "tokenizer", promptTokens: 110, cachedTokens: 100, completionTokens: 2, base: 30n },
    ]);
  });

  test("pays what the provider counts when the model thinks: the stream is read to its end", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    const { promise: left, resolve: leave } = Promise.withResolvers<void>();
    const whole = messageEvents(["hello", " world"], { usage: messageUsage(10, 500) }).map(namedEvent);
    using seen = upstream.on(
      text,
      events(
        (async function* () {
          yield whole.slice(0, 4).join("");
          await left;
          yield whole.slice(4).join("");
        })(),
      ),
    );
    // A client without thinking that hung up at the same moment: once it is billed, the server has noticed both.
    const plain = marker();
    using stopped = upstream.on(
      plain,
      events(
        (async function* () {
          yield whole.slice(0, 4).join("");
          await new Promise(() => {});
        })(),
      ),
    );
    const thinking = { type: "adaptive" };
    await hangUpAfter(
      postgresServer,
      path,
      world.as,
      [
        { ...ask(text), thinking, stream: true },
        { ...ask(plain), stream: true },
      ],
      "hello",
    );
    expect(await (await stopped.next()).ended).toBe("aborted");
    leave();
    expect(await (await seen.next()).ended).toBe("answered");
    await settled(postgresServer.db, world);
    expect(await world.usage()).toMatchObject([
      { outcome: "interrupted", countedBy: "provider", promptTokens: 10, completionTokens: 500, base: 2_510n },
      { outcome: "interrupted", countedBy: "tokenizer", promptTokens: 10, completionTokens: 1, base: 15n },
    ]);
  });
});

test("a message's price is the one in the books, as JSON and as a stream", async ({ postgresServer, upstream }) => {
  const world = await arrange(postgresServer.db);
  const text = marker();
  using _ = upstream.on(text, (request) =>
    request.body.stream === true ? namedEvents(messageEvents(["Hi"], { usage: USED })) : message(),
  );
  await Promise.all(
    Array.from({ length: 10 }, (_each, index) =>
      call(postgresServer, path, { ...world.as, body: { ...ask(text), stream: index % 2 === 0 } }),
    ),
  );
  expect(await world.balance()).toBe(1_000_000n - 10n * BigInt(COST));
  const listed = (await call(postgresServer, "/v1/usage", { key: world.as.key })).json.data;
  expect(listed.map((each: { endpoint: string; credits_used: number }) => [each.endpoint, each.credits_used])).toEqual(
    Array.from({ length: 10 }, () => [path, COST]),
  );
});
