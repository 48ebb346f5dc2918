import OpenAI, { APIError } from "openai";
import { makeKey, makeToken } from "../../src/testing/makers.ts";
import type { ServerProcess } from "../../src/testing/server-process.ts";
import {
  BREAK_OFF,
  events,
  namedEvent,
  namedEvents,
  outputMessage,
  type Piece,
  refusal,
  response,
  responseEvents,
  responseObject,
  responseUsage,
} from "../../src/testing/upstream-answers.ts";
import { call, eventsOf, hangUpAfter, marker } from "../client.ts";
import { expect, test } from "../fixtures.ts";
import { arrange, price, settled } from "../world.ts";

const path = "/v1/responses";

function client(server: Pick<ServerProcess, "url">, as: { key: string; user?: string }) {
  return new OpenAI({
    baseURL: `${server.url}/v1`,
    apiKey: as.key,
    defaultHeaders: as.user === undefined ? {} : { "X-Quota-User": as.user },
    maxRetries: 0,
  });
}

const ask = (input: string) => ({ model: "gpt-4o-mini", input });
type WithQuota = { quota?: { credits_used: number; balance_after: number; billing_mode: string; external_user_id?: string } };

async function failure(work: PromiseLike<unknown>): Promise<APIError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof APIError) return error;
    throw error;
  }
  throw new Error("it succeeded");
}

test.describe("the openai package, asking for a response,", () => {
  test("gets it with quota, and the provider does not store it", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db, { markupBps: 2_000 });
    const text = marker();
    using seen = upstream.on(text, response());
    const answer = await client(postgresServer, world.as).responses.create(ask(text));
    expect([answer.output_text, answer.usage?.total_tokens]).toEqual(["Hello there.", 15]);
    expect((answer as WithQuota).quota).toEqual({
      credits_used: 6,
      balance_after: 999_994,
      billing_mode: "user",
      external_user_id: world.as.user,
    });
    const request = await seen.next();
    expect([request.path, request.headers.authorization]).toEqual([path, `Bearer ${upstream.key}`]);
    expect(request.rawBody).toBe(`{"store":false,${JSON.stringify(ask(text)).slice(1)}`);
    const [record] = await postgresServer.db.prisma.usage.findMany({ where: { appId: world.app.id } });
    expect(record).toMatchObject({ endpoint: path, provider: "openai", promptTokens: 10, completionTokens: 5, countedBy: "provider" });
  });

  test("reads a stream, whose last event has quota, and so has the response in it", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    using _ = upstream.on(text, namedEvents(responseEvents(["Grüße ", "🦊"])));
    await test.step("event by event", async () => {
      let said = "";
      const types: string[] = [];
      let last: unknown;
      for await (const event of await client(postgresServer, world.as).responses.create({ ...ask(text), stream: true })) {
        types.push(event.type);
        if (event.type === "response.output_text.delta") said += event.delta;
        last = event;
      }
      expect([said, types.at(-1)]).toEqual(["Grüße 🦊", "response.completed"]);
      expect(last).toMatchObject({ quota: { credits_used: 5 }, response: { quota: { credits_used: 5, balance_after: 999_995 } } });
    });
    await test.step("with its helper, which puts the response together", async () => {
      const whole = await client(postgresServer, world.as).responses.stream(ask(text)).finalResponse();
      expect([whole.output_text, whole.usage?.output_tokens]).toEqual(["Grüße 🦊", 5]);
      expect((whole as WithQuota).quota).toMatchObject({ credits_used: 5, balance_after: 999_990 });
    });
  });

  test("reads a stream that ends at its limit, and one with a call", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    const made = {
      id: "fc_1",
      type: "function_call",
      call_id: "call_1",
      name: "get_weather",
      arguments: '{"city":"Oslo"}',
      status: "completed",
    };
    const begun = responseObject({ output: [], usage: null, status: "in_progress" });
    const place = { item_id: "fc_1", output_index: 0 };
    using seen = upstream.on(text, [
      namedEvents(responseEvents(["Hel"], { status: "incomplete" })),
      namedEvents([
        { type: "response.created", sequence_number: 0, response: begun },
        {
          type: "response.output_item.added",
          sequence_number: 1,
          output_index: 0,
          item: { ...made, arguments: "", status: "in_progress" },
        },
        { type: "response.function_call_arguments.delta", sequence_number: 2, ...place, delta: '{"city":' },
        { type: "response.function_call_arguments.delta", sequence_number: 3, ...place, delta: '"Oslo"}' },
        { type: "response.function_call_arguments.done", sequence_number: 4, ...place, name: made.name, arguments: made.arguments },
        { type: "response.output_item.done", sequence_number: 5, output_index: 0, item: made },
        { type: "response.completed", sequence_number: 6, response: responseObject({ output: [made] }) },
      ]),
      response({ output: [made] }),
    ]);
    const cut = await client(postgresServer, world.as).responses.stream(ask(text)).finalResponse();
    expect([cut.status, (cut as WithQuota).quota?.credits_used]).toEqual(["incomplete", 5]);
    const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
    const tools: OpenAI.Responses.Tool[] = [{ type: "function", name: "get_weather", parameters, strict: true }];
    const streamed = await client(postgresServer, world.as)
      .responses.stream({ ...ask(text), tools })
      .finalResponse();
    const json = await client(postgresServer, world.as).responses.create({ ...ask(text), tools });
    for (const { output } of [streamed, json])
      expect(output).toMatchObject([{ type: "function_call", call_id: "call_1", arguments: made.arguments }]);
    expect(seen.requests[2]?.body.tools).toEqual(tools);
    expect(await world.balance()).toBe(999_985n);
  });

  test("gets an error with status, code and param", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const poor = await arrange(postgresServer.db, { balance: 5n });
    const text = marker();
    using _ = upstream.on(text, refusal(400, { message: "Unsupported parameter", param: "temperature", code: "unsupported_parameter" }));
    const told = async (as: { key: string; user?: string }, request: object = {}) => {
      const { status, code, param } = await failure(client(postgresServer, as).responses.create({ ...ask("hi"), ...request }));
      return [status, code, param];
    };
    expect(await told({ ...world.as, key: "sk-quota-wrong" })).toEqual([401, "invalid_api_key", null]);
    expect(await told({ ...world.as, user: "nobody" })).toEqual([404, "not_found", null]);
    expect(await told(poor.as)).toEqual([402, "insufficient_credits", null]);
    expect(await told(world.as, { model: "claude-haiku-4-5" })).toEqual([400, "bad_request", "model"]);
    expect(await told(world.as, { model: "gpt-none" })).toEqual([404, "model_not_found", "model"]);
    expect(await told(world.as, ask(text))).toEqual([400, "unsupported_parameter", "temperature"]);
    expect(await told(world.as, { store: true })).toEqual([400, "bad_request", "store"]);
    expect(await told(world.as, { previous_response_id: "resp_1" })).toEqual([400, "bad_request", "previous_response_id"]);
    expect(await told(world.as, { tools: [{ type: "web_search" }] })).toEqual([400, "bad_request", "tools"]);
    expect([await world.balance(), await poor.balance()]).toEqual([1_000_000n, 5n]);
  });

  for (const [name, end, code] of [
    [
      "says that it failed",
      {
        type: "response.failed",
        response: responseObject({ status: "failed", rest: { error: { code: "server_error", message: "10.0.0.7" } } }),
      },
      "upstream_error",
    ],
    ["sends an error", { type: "error", code: "rate_limit_exceeded", message: "10.0.0.7", param: null, sequence_number: 5 }, "rate_limit"],
    ["breaks the connection", BREAK_OFF, "upstream_error"],
    ["ends without an end", null, "upstream_error"],
  ] as const) {
    test(`raises when the provider ${name} in the middle of a stream, and nothing is billed`, async ({ postgresServer, upstream }) => {
      const world = await arrange(postgresServer.db);
      const text = marker();
      const pieces: Piece[] = responseEvents(["Hello"]).slice(0, 5).map(namedEvent);
      if (end !== null) pieces.push(end === BREAK_OFF ? end : namedEvent(end));
      using _ = upstream.on(text, events(pieces));
      const raised = await failure(client(postgresServer, world.as).responses.stream(ask(text)).finalResponse());
      expect([raised.code, raised.message]).toEqual([code, expect.stringContaining("Nothing was billed")]);
      const { text: told } = await call(postgresServer, path, { ...world.as, body: { ...ask(text), stream: true } });
      expect(JSON.parse(told.slice(told.lastIndexOf("data: ") + 6))).toMatchObject({ type: "error", code, sequence_number: 5 });
      expect(told).not.toContain("10.0.0.7");
      await settled(postgresServer.db, world);
      expect((await world.usage()).map(({ outcome, base }) => [outcome, base])).toEqual([
        ["failed", 0n],
        ["failed", 0n],
      ]);
      expect(await world.balance()).toBe(1_000_000n);
    });
  }

  test("works with the simulator and a `test` key: text, a stream, a call and its result", async ({ postgresServer }) => {
    const world = await arrange(postgresServer.db);
    const sandbox = client(postgresServer, { key: (await makeKey(postgresServer.db, world.app.id, "test")).secret });
    const { data, response: raw } = await sandbox.responses.create(ask("What is a volcano?")).withResponse();
    expect(raw.headers.get("x-quota-simulated")).toBe("true");
    expect(data).toMatchObject({ status: "completed", store: false, quota: { billing_mode: "test" } });
    const whole = await sandbox.responses.stream(ask("What is a volcano?")).finalResponse();
    expect(whole.output_text).toBe(data.output_text);
    const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
    const tools: OpenAI.Responses.Tool[] = [{ type: "function", name: "get_weather", parameters, strict: true }];
    const question = "What is the weather in Oslo?";
    const answered = await sandbox.responses.stream({ ...ask(question), tools }).finalResponse();
    const made = answered.output[0];
    if (made?.type !== "function_call") throw new Error("no function was called");
    const result = { type: "function_call_output" as const, call_id: made.call_id, output: '{"sky":"clear"}' };
    const { parsed_arguments: _parsed, ...sent } = made;
    const last = await sandbox.responses.create({
      model: "gpt-4o-mini",
      tools,
      input: [{ role: "user", content: question }, sent, result],
    });
    expect(last.output_text).toContain("clear");
    expect((await failure(sandbox.responses.create(ask("simulate: error 429")))).status).toBe(429);
    expect((await failure(sandbox.responses.stream(ask("simulate: disconnect")).finalResponse())).code).toBe("upstream_error");
  });
});

test.describe("a response", () => {
  test("reaches the provider byte for byte, and returns byte for byte, with quota appended", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    const body = `{ "model":"gpt-4o-mini", "store" : false ,"x_new":{"big":9223372036854775807}, "temperature":1.0e0, "max_output_tokens":50,
      "include":["reasoning.encrypted_content"], "input":[{"role":"user","content":[{"type":"input_text","text":"${text} \\u00e9"}]}] }`;
    const answered =
      '{ "id":"x","object":"response","model":"m","status":"completed","output":[],"big":9223372036854775807,"usage":{"input_tokens":10,"output_tokens":5,"total_tokens":15} }\n';
    using seen = upstream.on(text, { body: [answered] });
    const answer = await call(postgresServer, path, { ...world.as, body });
    expect(seen.requests.map(({ rawBody }) => rawBody)).toEqual([body]);
    const quota = `{"credits_used":5,"balance_after":999995,"billing_mode":"user","external_user_id":${JSON.stringify(world.as.user)}}`;
    expect(answer.text).toBe(answered.replace(" }\n", ` ,"quota":${quota}}\n`));
  });

  test("has its limit lowered to what the wallet can pay", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db, { balance: 100n });
    const text = marker();
    using seen = upstream.on(text, response());
    for (const body of [{ ...ask(text) }, { ...ask(text), store: false, max_output_tokens: 10_000 }]) {
      const answer = await call(postgresServer, path, { ...world.as, body });
      const lowered = Number(answer.headers.get("x-quota-max-tokens"));
      expect(lowered).toBeGreaterThanOrEqual(16);
      expect(lowered).toBeLessThan(170);
      expect(seen.requests.at(-1)?.body).toEqual({ ...body, store: false, max_output_tokens: lowered });
    }
    expect(await world.balance()).toBe(90n);
  });

  test("is billed for tokens read from the prompt cache, and by tokenizer when the provider reports no usage", async ({
    postgresServer,
    upstream,
  }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    const usage = responseUsage(1_010, 5, { cached: 1_000 });
    const bare = responseEvents(["hello", " world"], { usage: null });
    using _ = upstream.on(text, [response({ usage }), namedEvents(responseEvents(["Hello"], { usage })), namedEvents(bare)]);
    const body = { ...ask(text), instructions: "x".repeat(2_000) };
    const cost = Number(price(1_010, 5, { cached: 1_000 }));
    expect((await call(postgresServer, path, { ...world.as, body })).json.quota.credits_used).toBe(cost);
    expect((await call(postgresServer, path, { ...world.as, body: { ...body, stream: true } })).text).toContain(`"credits_used":${cost},`);
    await call(postgresServer, path, { ...world.as, body: { ...ask(text), stream: true } });
    expect(await world.usage()).toMatchObject([
      { cachedTokens: 1_000, countedBy: "provider" },
      { cachedTokens: 1_000, countedBy: "provider" },
      { countedBy: "tokenizer", completionTokens: 2, outcome: "completed" },
    ]);
  });

  test("is paid by access token too, for allowed models, and replayed for an Idempotency-Key", async ({ postgresServer, upstream }) => {
    const { db } = postgresServer;
    const world = await arrange(db, { userAllows: ["gpt-4o-mini"] });
    const text = marker();
    using seen = upstream.on(text, response());
    const other = await call(postgresServer, path, { ...world.as, body: { ...ask(text), model: "gpt-4o" } });
    expect([other.status, other.json.error.code]).toEqual([403, "model_not_allowed"]);
    const { token } = await makeToken(db, world.link, { scope: "credits.read credits.spend" });
    expect((await client(postgresServer, { key: token }).responses.create(ask(text))) as WithQuota).toMatchObject({
      quota: { credits_used: 5 },
    });
    const request = { ...world.as, headers: { "idempotency-key": text }, body: ask(text) };
    const first = await call(postgresServer, path, request);
    const again = await call(postgresServer, path, request);
    expect([again.headers.get("idempotency-replayed"), again.text]).toEqual(["true", first.text]);
    expect((await call(postgresServer, path, { ...request, body: { ...ask(text), top_p: 1 } })).status).toBe(409);
    expect(seen.requests).toHaveLength(2);
    expect(await world.balance()).toBe(999_990n);
  });

  test("that is no response is not billed", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const failed = responseObject({ status: "failed", rest: { error: { code: "server_error", message: "secret" } } });
    for (const body of [JSON.stringify(failed), JSON.stringify(responseObject({ status: "queued" })), '{"object":"response"}', "<html>"]) {
      const text = marker();
      using _ = upstream.on(text, { body: [body] });
      const answer = await call(postgresServer, path, { ...world.as, body: ask(text) });
      expect([answer.status, answer.json.error.code]).toEqual([502, "upstream_error"]);
      expect(answer.text).not.toContain("secret");
    }
    expect(await world.balance()).toBe(1_000_000n);
  });
});

test.describe("a client that hangs up on a response", () => {
  test("pays for the prompt and for the delivered text; the provider is stopped", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    using seen = upstream.on(
      text,
      events(
        (async function* () {
          yield responseEvents(["hello world"]).slice(0, 5).map(namedEvent).join("");
          await new Promise(() => {});
        })(),
      ),
    );
    await hangUpAfter(postgresServer, path, world.as, [{ ...ask(text), stream: true }], "hello world");
    expect(await (await seen.next()).ended).toBe("aborted");
    await settled(postgresServer.db, world);
    const [bought] = await world.usage();
    expect(bought).toMatchObject({ outcome: "interrupted", countedBy: "tokenizer", completionTokens: 2 });
    expect(bought?.base).toBe(price(bought?.promptTokens ?? 0, 2));
  });

  test("pays what the provider counts when the model reasons: the stream is read to its end", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    const { promise: left, resolve: leave } = Promise.withResolvers<void>();
    const whole = responseEvents(["hello"], { output: [outputMessage("hello")], usage: responseUsage(10, 500) }).map(namedEvent);
    using seen = upstream.on(
      text,
      events(
        (async function* () {
          yield whole.slice(0, 5).join("");
          await left;
          yield whole.slice(5).join("");
        })(),
      ),
    );
    // A client without reasoning that hung up at the same moment: once it is billed, the server has noticed both.
    const plain = marker();
    using stopped = upstream.on(
      plain,
      events(
        (async function* () {
          yield whole.slice(0, 5).join("");
          await new Promise(() => {});
        })(),
      ),
    );
    const reasoning = { ...ask(text), model: "gpt-5-mini", stream: true };
    await hangUpAfter(postgresServer, path, world.as, [reasoning, { ...ask(plain), stream: true }], "hello");
    expect(await (await stopped.next()).ended).toBe("aborted");
    leave();
    expect(await (await seen.next()).ended).toBe("answered");
    await settled(postgresServer.db, world);
    expect(await world.usage()).toMatchObject([
      { outcome: "interrupted", countedBy: "provider", promptTokens: 10, completionTokens: 500 },
      { outcome: "interrupted", countedBy: "tokenizer", completionTokens: 1 },
    ]);
  });
});

test("a stream of a response is the same to the client wherever the provider's bytes were cut", async ({ postgresServer, upstream }) => {
  const world = await arrange(postgresServer.db);
  const bytes = Buffer.from(responseEvents(["é🦊"]).slice(4).map(namedEvent).join(""));
  const told = async (pieces: Uint8Array[]) => {
    const text = marker();
    using _ = upstream.on(text, events(pieces));
    const answer = await call(postgresServer, path, { ...world.as, body: { ...ask(text), stream: true } });
    return answer.text.replaceAll(/"balance_after":\d+/g, "");
  };
  const uncut = await told([bytes]);
  expect(eventsOf(uncut.replaceAll(/^event: .*\n/gm, "").replaceAll('"credits_used":5,,', '"credits_used":5,')).at(-1)).toMatchObject({
    type: "response.completed",
    quota: { credits_used: 5 },
  });
  expect(await told([...bytes].map((byte) => Uint8Array.of(byte)))).toBe(uncut);
});
