import OpenAI, { APIError, AuthenticationError, BadRequestError, InternalServerError, NotFoundError, RateLimitError } from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import type { ServerProcess } from "../../src/testing/server-process.ts";
import {
  BREAK_OFF,
  choice,
  completion,
  completionChunks,
  event,
  events,
  refusal,
  sse,
  toolCall,
} from "../../src/testing/upstream-answers.ts";
import { marker } from "../client.ts";
import { expect, test } from "../fixtures.ts";
import { arrange } from "../world.ts";

/** OpenAI's client with another address, another key and X-Quota-User. */
function client(server: Pick<ServerProcess, "url">, as: { key: string; user?: string }, options: { maxRetries?: number } = {}) {
  return new OpenAI({
    baseURL: `${server.url}/v1`,
    apiKey: as.key,
    defaultHeaders: as.user === undefined ? {} : { "X-Quota-User": as.user },
    maxRetries: 0,
    ...options,
  });
}

const ask = (content: string) => ({ model: "gpt-4o-mini", messages: [{ role: "user" as const, content }] });
type WithQuota = { quota?: { credits_used: number; balance_after: number } };

async function failure(work: PromiseLike<unknown>): Promise<APIError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof APIError) return error;
    throw error;
  }
  throw new Error("it succeeded");
}

test.describe("the openai package", () => {
  test("gets a completion, with quota and the request id", async ({ postgresServer }) => {
    const world = await arrange(postgresServer.db);
    const answer = await client(postgresServer, world.as).chat.completions.create(ask("hi"));
    expect(answer.choices[0]?.message.content).toBe("Hello there.");
    expect(answer.usage?.total_tokens).toBe(15);
    expect((answer as WithQuota).quota).toMatchObject({ credits_used: 5, balance_after: 999_995 });
    expect(answer._request_id).toMatch(/^req_[0-9a-f]{32}$/);
  });

  test("reads a stream in which every chunk has a choice", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    using _ = upstream.on(text, sse(completionChunks(["Grüße ", "🦊"], { includeUsage: true })));
    let said = "";
    let quota: WithQuota["quota"];
    const stream = await client(postgresServer, world.as).chat.completions.create({ ...ask(text), stream: true });
    for await (const chunk of stream) {
      expect(chunk.choices[0]).toBeDefined();
      said += chunk.choices[0]?.delta.content ?? "";
      quota = (chunk as WithQuota).quota ?? quota;
    }
    expect([said, quota?.credits_used]).toEqual(["Grüße 🦊", 5]);
  });

  test("gets usage and quota in the usage chunk that it asked for", async ({ postgresServer }) => {
    const world = await arrange(postgresServer.db);
    const chunks = [];
    for await (const chunk of await client(postgresServer, world.as).chat.completions.create({
      ...ask("hi"),
      stream: true,
      stream_options: { include_usage: true },
    }))
      chunks.push(chunk);
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { total_tokens: 15 }, quota: { credits_used: 5 } });
    expect(chunks.slice(0, -1).every(({ choices }) => choices.length === 1)).toBe(true);
  });

  test("hangs up in mid-stream with abort", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    using seen = upstream.on(
      text,
      events(
        (async function* () {
          for (const chunk of completionChunks(["hello", " world"])) yield event(chunk);
          await new Promise(() => {});
        })(),
      ),
    );
    const stream = await client(postgresServer, world.as).chat.completions.create({ ...ask(text), stream: true });
    for await (const chunk of stream) {
      if (chunk.choices[0]?.delta.content === " world") stream.controller.abort();
    }
    expect(await (await seen.next()).ended).toBe("aborted");
    await expect.poll(() => world.usage()).toMatchObject([{ outcome: "interrupted", completionTokens: 2 }]);
  });

  test("makes a round trip through a tool", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    const asked = toolCall("get_weather", { city: "Oslo" });
    using seen = upstream.on(text, [
      completion({ choices: [choice({ tool_calls: [asked] }, { finishReason: "tool_calls" })] }),
      completion({ text: "It rains in Oslo." }),
    ]);
    const runner = client(postgresServer, world.as).chat.completions.runTools({
      ...ask(text),
      tools: [
        {
          type: "function",
          function: {
            name: "get_weather",
            description: "The weather",
            parameters: { type: "object", properties: { city: { type: "string" } } },
            parse: JSON.parse,
            function: ({ city }: { city: string }) => `rain in ${city}`,
          },
        },
      ],
    });
    expect(await runner.finalContent()).toBe("It rains in Oslo.");
    expect(seen.requests[1]?.body.messages).toMatchObject([
      { role: "user" },
      { role: "assistant", tool_calls: [asked] },
      { role: "tool", tool_call_id: "call_1", content: "rain in Oslo" },
    ]);
    expect(seen.requests[0]?.body.tools).toHaveLength(1);
    expect(await world.usage()).toHaveLength(2);
  });

  test("parses structured output", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    using seen = upstream.on(text, completion({ text: '{"city":"Oslo","rain":true}' }));
    const answer = await client(postgresServer, world.as).chat.completions.parse({
      ...ask(text),
      response_format: zodResponseFormat(z.object({ city: z.string(), rain: z.boolean() }), "weather"),
    });
    expect(answer.choices[0]?.message.parsed).toEqual({ city: "Oslo", rain: true });
    expect(seen.requests[0]?.body.response_format).toMatchObject({ type: "json_schema", json_schema: { name: "weather", strict: true } });
  });

  test("makes embeddings, decoded from base64", async ({ postgresServer }) => {
    const world = await arrange(postgresServer.db);
    const answer = await client(postgresServer, world.as).embeddings.create({ model: "text-embedding-3-small", input: ["one", "two"] });
    expect(answer.data.map(({ embedding }) => embedding)).toEqual([
      [0.25, -0.5, 0.125],
      [0.25, -0.5, 0.125],
    ]);
    expect((answer as WithQuota).quota?.credits_used).toBe(1);
  });

  test("lists and retrieves models", async ({ postgresServer }) => {
    const openai = client(postgresServer, { key: "none-needed" });
    const ids = [];
    for await (const model of openai.models.list()) ids.push(model.id);
    expect(ids).toContain("gpt-4o-mini");
    expect(await openai.models.retrieve("gpt-4o-mini")).toMatchObject({ id: "gpt-4o-mini", object: "model", owned_by: "openai" });
    expect(await failure(openai.models.retrieve("gpt-99"))).toBeInstanceOf(NotFoundError);
  });

  test("retrieves a model by another name, and is told the nearest names of one that there is not", async ({ postgresServer }) => {
    const openai = client(postgresServer, { key: "none-needed" });
    // The package sends the slash percent-encoded.
    for (const name of ["gpt-4o-mini-2024-07-18", "openai/gpt-4o-mini"])
      expect(await openai.models.retrieve(name)).toMatchObject({ id: "gpt-4o-mini" });
    for (const wrong of ["gpt-4o-min", "openai/gpt-4o-min"]) {
      const { status, message } = await failure(openai.models.retrieve(wrong));
      expect([status, message]).toEqual([404, expect.stringContaining(`There is no model "${wrong}". Did you mean "gpt-4o-mini" or`)]);
    }
    const world = await arrange(postgresServer.db);
    const unknown = await failure(client(postgresServer, world.as).chat.completions.create({ ...ask("hi"), model: "gpt-4o-min" }));
    expect([unknown.status, unknown.param]).toEqual([404, "model"]);
    expect(unknown.message).toContain('Did you mean "gpt-4o-mini" or');
  });

  test("raises the error class of each status, with code, type, param and request id", async ({ postgresServer, upstream }) => {
    const { db } = postgresServer;
    const world = await arrange(db);
    const poor = await arrange(db, { balance: 0n });
    const limited = marker();
    using _ = upstream.on(limited, refusal(429, { message: "slow down" }, { "retry-after": "3" }));
    const tooLong = marker();
    using __ = upstream.on(tooLong, refusal(400, { message: "too long", param: "messages", code: "context_length_exceeded" }));
    const down = marker();
    using ___ = upstream.on(down, refusal(500, { message: "down" }));
    const openai = client(postgresServer, world.as);
    const cases: [work: () => PromiseLike<unknown>, kind: new (...args: never[]) => APIError, fields: Record<string, unknown>][] = [
      [
        () => client(postgresServer, { key: `sk-quota-${"0".repeat(32)}` }).chat.completions.create(ask("hi")),
        AuthenticationError,
        { status: 401, code: "invalid_api_key", type: "authentication_error", param: null },
      ],
      [
        () => client(postgresServer, poor.as).chat.completions.create(ask("hi")),
        APIError,
        { status: 402, code: "insufficient_credits", type: "insufficient_quota", param: null },
      ],
      [
        () => client(postgresServer, { key: world.as.key, user: "nobody" }).chat.completions.create(ask("hi")),
        NotFoundError,
        { status: 404, code: "not_found", type: "invalid_request_error", param: null },
      ],
      [
        () => openai.chat.completions.create({ ...ask("hi"), model: "gpt-99" }),
        NotFoundError,
        { status: 404, code: "model_not_found", param: "model" },
      ],
      [
        () => openai.chat.completions.create({ ...ask("hi"), max_tokens: -1 }),
        BadRequestError,
        { status: 400, code: "bad_request", type: "invalid_request_error", param: "max_tokens" },
      ],
      [
        () => openai.chat.completions.create({ ...ask(tooLong), stream: true }),
        BadRequestError,
        { status: 400, code: "context_length_exceeded", param: "messages" },
      ],
      [() => openai.chat.completions.create(ask(limited)), RateLimitError, { status: 429, code: "rate_limit", type: "rate_limit_error" }],
      [() => openai.chat.completions.create(ask(down)), InternalServerError, { status: 502, code: "upstream_error", type: "api_error" }],
    ];
    for (const [work, kind, fields] of cases) {
      const error = await failure(work());
      expect(error).toBeInstanceOf(kind);
      expect({ status: error.status, code: error.code, type: error.type, param: error.param }).toMatchObject(fields);
      expect(error.requestID).toMatch(/^req_[0-9a-f]{32}$/);
      expect(error.message.length).toBeGreaterThan(10);
      expect(error.headers?.get("retry-after") ?? null).toBe(error.status === 429 ? "3" : null);
    }
  });

  test("raises an error when a stream breaks, after giving what came", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    for (const ending of [[BREAK_OFF], [], [event({ error: { message: "exploded" } })], ['data: {"half']] as const) {
      const text = marker();
      using _ = upstream.on(text, events([...completionChunks(["hello"]).slice(0, 2).map(event), ...ending]));
      let said = "";
      const error = await failure(
        (async () => {
          for await (const chunk of await client(postgresServer, world.as).chat.completions.create({ ...ask(text), stream: true }))
            said += chunk.choices[0]?.delta.content ?? "";
        })(),
      );
      expect([said, error.code]).toEqual(["hello", "upstream_error"]);
    }
    expect(await world.balance()).toBe(1_000_000n);
  });

  test("retries, and only the answer that it received is billed", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    using seen = upstream.on(text, [
      refusal(500, { message: "down" }),
      refusal(429, { message: "slow" }, { "retry-after-ms": "1", "retry-after": "0" }),
      completion(),
    ]);
    const answer = await client(postgresServer, world.as, { maxRetries: 2 }).chat.completions.create(ask(text));
    expect(answer.choices[0]?.message.content).toBe("Hello there.");
    expect(seen.requests).toHaveLength(3);
    expect(await world.balance()).toBe(999_995n);
  });

  test("works against the simulator", async ({ simulatedServer }) => {
    const { demo } = simulatedServer;
    const openai = client(simulatedServer, { key: demo.api_keys.test, user: "anybody" });
    const { data, response } = await openai.chat.completions.create(ask("Hello!")).withResponse();
    expect(response.headers.get("x-quota-simulated")).toBe("true");
    expect(data.choices[0]?.message.content?.length).toBeGreaterThan(5);
    const { data: found } = await openai.embeddings.create({ model: "text-embedding-3-small", input: "one" });
    expect(found[0]?.embedding.length).toBeGreaterThan(2);
    let said = "";
    for await (const chunk of await openai.chat.completions.create({ ...ask("Hello!"), stream: true }))
      said += chunk.choices[0]?.delta.content ?? "";
    expect(said.length).toBeGreaterThan(5);
  });
});
