import { once } from "node:events";
import { request as httpRequest } from "node:http";
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { countPromptTokens, countTextTokens, encodeText } from "../../pricing/tokens.ts";
import { type Simulator, startSimulator } from "./server.ts";

let simulator: Simulator;
let openai: OpenAI;

beforeAll(async () => {
  simulator = await startSimulator({ tokensPerSecond: Infinity });
  openai = new OpenAI({ baseURL: simulator.url, apiKey: "none", maxRetries: 0 });
});
afterAll(() => simulator.close());

type Params = Omit<OpenAI.ChatCompletionCreateParamsNonStreaming, "model" | "messages">;

function ask(content: string, more: Params = {}) {
  return openai.chat.completions.create({ model: "gpt-4o-mini", messages: [{ role: "user", content }], ...more });
}

async function askStream(content: string, more: Params = {}): Promise<OpenAI.ChatCompletionChunk[]> {
  const stream = await openai.chat.completions.create({
    model: "gpt-4o-mini",
    messages: [{ role: "user", content }],
    ...more,
    stream: true,
    stream_options: { include_usage: true },
  });
  return allOf(stream);
}

async function allOf<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const one of stream) all.push(one);
  return all;
}

function post(path: string, body: unknown): Promise<Response> {
  return fetch(simulator.url + path, { method: "POST", body: typeof body === "string" ? body : JSON.stringify(body) });
}

const weather: OpenAI.ChatCompletionTool = {
  type: "function",
  function: {
    name: "get_weather",
    description: "Forecast for a city",
    parameters: {
      type: "object",
      properties: { city: { type: "string" }, unit: { enum: ["celsius", "fahrenheit"] } },
      required: ["city", "unit"],
      additionalProperties: false,
    },
  },
};

const stocks: OpenAI.ChatCompletionTool = {
  type: "function",
  function: {
    name: "quoteStocks",
    parameters: { type: "object", properties: { symbol: { type: "string" } }, required: ["symbol"] },
  },
};

describe("text answers", () => {
  test("a completion has every field of OpenAI's", async () => {
    const response = await post("/chat/completions", {
      model: "any-model",
      messages: [{ role: "user", content: "What is photosynthesis?" }],
    });
    expect(response.headers.get("content-type")).toContain("application/json");
    expect(await response.json()).toEqual({
      id: expect.stringMatching(/^chatcmpl-\w{20,}$/),
      object: "chat.completion",
      created: expect.any(Number),
      model: "any-model",
      choices: [
        {
          index: 0,
          message: {
            role: "assistant",
            content: expect.stringContaining("photosynthesis"),
            refusal: null,
            annotations: [],
          },
          logprobs: null,
          finish_reason: "stop",
        },
      ],
      usage: {
        prompt_tokens: expect.any(Number),
        completion_tokens: expect.any(Number),
        total_tokens: expect.any(Number),
        prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0 },
        completion_tokens_details: {
          reasoning_tokens: 0,
          audio_tokens: 0,
          accepted_prediction_tokens: 0,
          rejected_prediction_tokens: 0,
        },
      },
      service_tier: "default",
      system_fingerprint: expect.any(String),
    });
  });

  test("usage is the tokenizer's count of the prompt and of the text", async () => {
    const { choices, usage } = await ask("Tell me about the Ångström, please 🦄");
    expect(usage?.completion_tokens).toBe(await countTextTokens(choices[0]?.message.content ?? ""));
    expect(usage?.prompt_tokens).toBe(
      await countPromptTokens({ messages: [{ role: "user", content: "Tell me about the Ångström, please 🦄" }] }),
    );
    expect(usage?.total_tokens).toBe((usage?.prompt_tokens ?? 0) + (usage?.completion_tokens ?? 0));
  });

  test("every answer admits to be the simulator's", async () => {
    for (const message of ["hello", "thanks!", "Write a poem about rain", "Why is the sky blue?", "I like tea.", ""]) {
      expect((await ask(message)).choices[0]?.message.content).toMatch(/simulator|real model|provider key/);
    }
  });

  test("a greeting is greeted", async () => {
    expect((await ask("Hello!")).choices[0]?.message.content).toMatch(/^(Hello|Hi)/);
  });

  test("the same messages and seed give the same text, other seeds other texts", async () => {
    const text = async (seed: number) => (await ask("Describe the moon", { seed })).choices[0]?.message.content;
    expect(await text(7)).toBe(await text(7));
    expect(new Set(await Promise.all([1, 2, 3, 4, 5, 6].map(text))).size).toBeGreaterThan(1);
  });

  test("images, sounds and files are acknowledged", async () => {
    const completion = await openai.chat.completions.create({
      model: "gpt-4o",
      messages: [
        {
          role: "user",
          content: [
            { type: "text", text: "What is in these pictures?" },
            { type: "image_url", image_url: { url: "https://example.com/a.png" } },
            { type: "image_url", image_url: { url: "https://example.com/b.png" } },
            { type: "input_audio", input_audio: { data: "AAAA", format: "wav" } },
          ],
        },
      ],
    });
    expect(completion.choices[0]?.message.content).toContain("2 images and 1 audio clip");
  });
});

describe("limits", () => {
  test.each([1, 2, 7, 15])("max_tokens %d gives exactly that many tokens and finish_reason length", async (limit) => {
    for (const more of [{ max_tokens: limit }, { max_completion_tokens: limit }]) {
      const { choices, usage } = await ask("What is a volcano?", more);
      expect(choices[0]?.finish_reason).toBe("length");
      expect(usage?.completion_tokens).toBe(limit);
      expect(await encodeText(choices[0]?.message.content ?? "")).toHaveLength(limit);
    }
  });

  test("a limit above the answer's length changes nothing", async () => {
    const [free, limited] = await Promise.all([ask("What is a volcano?"), ask("What is a volcano?", { max_tokens: 10_000 })]);
    expect(limited.choices).toEqual(free.choices);
  });

  test.each(["the", ["zzz", "the"]])("text ends before the stop sequence %j", async (stop) => {
    const full = (await ask("What is a volcano?")).choices[0]?.message.content ?? "";
    const { choices, usage } = await ask("What is a volcano?", { stop });
    expect(choices[0]?.message.content).toBe(full.slice(0, full.indexOf("the")));
    expect(choices[0]?.finish_reason).toBe("stop");
    expect(usage?.completion_tokens).toBe(await countTextTokens(choices[0]?.message.content ?? ""));
  });

  test("n gives that many choices, and usage counts them all", async () => {
    const { choices, usage } = await ask("What is a volcano?", { n: 3 });
    expect(choices.map((choice) => choice.index)).toEqual([0, 1, 2]);
    const counts = await Promise.all(choices.map((choice) => countTextTokens(choice.message.content ?? "")));
    expect(usage?.completion_tokens).toBe(counts.reduce((sum, one) => sum + one));
  });
});

describe("streams", () => {
  test("a stream is role, text, finish, usage and [DONE], as OpenAI sends it", async () => {
    const response = await post("/chat/completions", {
      model: "m",
      messages: [{ role: "user", content: "Hello" }],
      stream: true,
      stream_options: { include_usage: true },
    });
    expect(response.headers.get("content-type")).toContain("text/event-stream");
    const events = (await response.text())
      .split("\n\n")
      .filter(Boolean)
      .map((event) => event.replace(/^data: /, ""));
    expect(events.at(-1)).toBe("[DONE]");
    const chunks = events.slice(0, -1).map((event) => JSON.parse(event));
    const envelope = {
      id: chunks[0].id,
      object: "chat.completion.chunk",
      model: "m",
      service_tier: "default",
      usage: null,
    };
    for (const chunk of chunks.slice(0, -1)) expect(chunk).toMatchObject(envelope);
    expect(chunks[0].choices).toEqual([
      { index: 0, delta: { role: "assistant", content: "", refusal: null }, logprobs: null, finish_reason: null },
    ]);
    expect(chunks[1].choices).toEqual([{ index: 0, delta: { content: expect.any(String) }, logprobs: null, finish_reason: null }]);
    expect(chunks.at(-2).choices).toEqual([{ index: 0, delta: {}, logprobs: null, finish_reason: "stop" }]);
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: chunks.length - 3 } });
  });

  test("without include_usage no chunk has a usage field", async () => {
    const response = await post("/chat/completions", {
      model: "m",
      messages: [{ role: "user", content: "Hello" }],
      stream: true,
    });
    expect(await response.text()).not.toContain('"usage"');
  });

  test.each<[string, Params]>([
    ["plain", {}],
    ["limited", { max_tokens: 9 }],
    ["with several choices", { n: 3 }],
    ["with a tool call", { tools: [weather], tool_choice: "required" }],
    ["with logprobs", { logprobs: true, top_logprobs: 2 }],
  ])("a stream %s adds up to the JSON answer of the same request", async (_, more) => {
    const json = await ask("What about 漢字 and 🦄🦄?", more);
    const chunks = await askStream("What about 漢字 and 🦄🦄?", more);
    expect(chunks.at(-1)?.usage).toEqual(json.usage);
    for (const choice of json.choices) {
      const own = chunks.flatMap((chunk) => chunk.choices).filter((one) => one.index === choice.index);
      expect(own.map((one) => one.delta.content ?? "").join("")).toBe(choice.message.content ?? "");
      const args = own.map((one) => one.delta.tool_calls?.[0]?.function?.arguments ?? "").join("");
      const call = choice.message.tool_calls?.[0];
      expect(args).toBe(call?.type === "function" ? call.function.arguments : "");
      expect(own.flatMap((one) => one.logprobs?.content ?? [])).toEqual(choice.logprobs?.content ?? []);
      expect(own.at(-1)?.finish_reason).toBe(choice.finish_reason);
    }
  });

  test("a client that leaves in the middle of a stream harms nobody else", async () => {
    const stream = await openai.chat.completions.create({
      model: "m",
      messages: [{ role: "user", content: "simulate: long 30000" }],
      stream: true,
    });
    for await (const _ of stream) break;
    expect((await ask("Hello")).choices).toHaveLength(1);
  });

  test("a client that reads late gets the whole stream, and holds up nobody else", async () => {
    const request = httpRequest(`${simulator.url}/chat/completions`, { method: "POST" });
    request.end(JSON.stringify({ model: "m", messages: [{ role: "user", content: "simulate: long 32768" }], stream: true }));
    const [response] = await once(request, "response");
    response.pause();
    expect((await ask("Hello")).choices).toHaveLength(1);
    let text = "";
    for await (const part of response) text += part;
    expect(text.endsWith("data: [DONE]\n\n")).toBe(true);
  });

  test("a stream keeps its pace", async () => {
    const slow = await startSimulator({ tokensPerSecond: 200 });
    const client = new OpenAI({ baseURL: slow.url, apiKey: "none", maxRetries: 0 });
    const start = performance.now();
    const stream = await client.chat.completions.create({
      model: "m",
      messages: [{ role: "user", content: "simulate: long 40" }],
      stream: true,
    });
    await allOf(stream);
    expect(performance.now() - start).toBeGreaterThan(180);
    await slow.close();
  });
});

describe("tools", () => {
  test("a required call has arguments valid for the function's schema", async () => {
    const { choices, usage } = await ask("What is up in Oslo?", { tools: [weather, stocks], tool_choice: "required" });
    expect(choices[0]?.finish_reason).toBe("tool_calls");
    expect(choices[0]?.message.content).toBeNull();
    const [call] = choices[0]?.message.tool_calls ?? [];
    expect(call).toMatchObject({
      id: expect.stringMatching(/^call_\w{20,}$/),
      type: "function",
      function: { name: "get_weather" },
    });
    const text = call?.type === "function" ? call.function.arguments : "";
    const args = JSON.parse(text);
    expect(Object.keys(args).sort()).toEqual(["city", "unit"]);
    expect(args.city).toBe("Oslo");
    expect(["celsius", "fahrenheit"]).toContain(args.unit);
    expect(usage?.completion_tokens).toBe((await countTextTokens("get_weather")) + (await countTextTokens(text)));
  });

  test("a named function is called, whatever the message says", async () => {
    const { choices } = await ask("What is the weather?", {
      tools: [weather, stocks],
      tool_choice: { type: "function", function: { name: "quoteStocks" } },
    });
    expect(choices[0]?.message.tool_calls).toMatchObject([{ function: { name: "quoteStocks" } }]);
  });

  test.each([
    ["Will the WEATHER be fine in Rome?", ["get_weather"]],
    ["A forecast, please", ["get_weather"]],
    ["How is that stock?", ["quoteStocks"]],
    ["Compare the weather and stocks", ["get_weather", "quoteStocks"]],
    ["How are you?", []],
  ])("auto calls the functions that %j mentions", async (message, names) => {
    const { choices } = await ask(message, { tools: [weather, stocks] });
    const called = choices[0]?.message.tool_calls?.map((call) => (call.type === "function" ? call.function.name : ""));
    expect(called ?? []).toEqual(names);
    expect(choices[0]?.finish_reason).toBe(names.length > 0 ? "tool_calls" : "stop");
  });

  test("parallel_tool_calls false gives one call, tool_choice none gives text", async () => {
    const tools = [weather, stocks];
    const one = await ask("Compare the weather and stocks", { tools, parallel_tool_calls: false });
    expect(one.choices[0]?.message.tool_calls).toHaveLength(1);
    const none = await ask("Compare the weather and stocks", { tools, tool_choice: "none" });
    expect(none.choices[0]?.message.tool_calls).toBeUndefined();
  });

  test("after the tool's message the answer is text with its content", async () => {
    const first = await ask("What is the weather in Oslo?", { tools: [weather] });
    const message = first.choices[0]?.message;
    const id = message?.tool_calls?.[0]?.id ?? "";
    if (!message) throw new Error("no message");
    const second = await openai.chat.completions.create({
      model: "gpt-4o-mini",
      messages: [
        { role: "user", content: "What is the weather in Oslo?" },
        message,
        { role: "tool", tool_call_id: id, content: JSON.stringify({ temperature: 21, sky: "clear" }) },
      ],
      tools: [weather],
    });
    expect(second.choices[0]?.finish_reason).toBe("stop");
    expect(second.choices[0]?.message.content).toContain("temperature 21, sky clear");
  });

  test("streamed calls carry id and name first, then only arguments", async () => {
    const chunks = await askStream("Compare the weather and stocks", { tools: [weather, stocks] });
    const deltas = chunks.flatMap((chunk) => chunk.choices.map((choice) => choice.delta));
    expect(deltas[0]).toEqual({ role: "assistant", content: null, refusal: null });
    const parts = deltas.flatMap((delta) => delta.tool_calls ?? []);
    for (const index of [0, 1]) {
      const [head, ...rest] = parts.filter((part) => part.index === index);
      expect(head).toEqual({
        index,
        id: expect.any(String),
        type: "function",
        function: { name: expect.any(String), arguments: "" },
      });
      expect(rest.length).toBeGreaterThan(1);
      for (const part of rest) expect(part).toEqual({ index, function: { arguments: expect.any(String) } });
      expect(() => JSON.parse(rest.map((part) => part.function?.arguments).join(""))).not.toThrow();
    }
  });

  test.each([1, 3, 6])("max_tokens %d cuts a call at exactly that many tokens", async (limit) => {
    const { choices, usage } = await ask("weather", { tools: [weather], max_tokens: limit });
    expect(choices[0]?.finish_reason).toBe("length");
    expect(usage?.completion_tokens).toBe(limit);
  });
});

describe("JSON", () => {
  test("json_object gives a JSON object", async () => {
    const { choices } = await ask("Tell me about tea in JSON", { response_format: { type: "json_object" } });
    expect(JSON.parse(choices[0]?.message.content ?? "")).toMatchObject({ message: expect.any(String) });
  });

  test("json_schema gives a value valid for the schema", async () => {
    const schema = {
      type: "object",
      properties: {
        kind: { const: "meal" },
        dishes: { type: "array", minItems: 3, items: { $ref: "#/$defs/dish" } },
        note: { anyOf: [{ type: "string", maxLength: 5 }, { type: "null" }] },
      },
      required: ["kind", "dishes", "note"],
      additionalProperties: false,
      $defs: {
        dish: {
          type: "object",
          properties: {
            name: { type: "string" },
            grams: { type: "integer", minimum: 250, maximum: 260 },
            on: { type: "string", format: "date" },
          },
          required: ["name", "grams", "on"],
        },
      },
    };
    const { choices } = await ask("Plan a meal", {
      response_format: { type: "json_schema", json_schema: { name: "meal", strict: true, schema } },
    });
    const meal = JSON.parse(choices[0]?.message.content ?? "");
    expect(Object.keys(meal).sort()).toEqual(["dishes", "kind", "note"]);
    expect(meal.kind).toBe("meal");
    expect(meal.dishes.length).toBeGreaterThanOrEqual(3);
    for (const dish of meal.dishes) {
      expect(dish.grams).toBeGreaterThanOrEqual(250);
      expect(dish.grams).toBeLessThanOrEqual(260);
      expect(dish.on).toMatch(/^\d{4}-\d\d-\d\d$/);
      expect(typeof dish.name).toBe("string");
    }
    expect(meal.note === null || meal.note.length <= 5).toBe(true);
  });

  test("a schema that cannot be met is an error with its param", async () => {
    const schema = { type: "object", properties: { a: { $ref: "#/$defs/none" } }, required: ["a"] };
    const error = await ask("hi", {
      response_format: { type: "json_schema", json_schema: { name: "x", schema } },
    }).catch((one) => one);
    expect(error).toMatchObject({ status: 400, param: "response_format", code: "invalid_json_schema" });
  });
});

test("logprobs has one entry per token, with the asked number of alternatives", async () => {
  const { choices, usage } = await ask("Tell me about 🦄🦄 unicorns", { logprobs: true, top_logprobs: 3 });
  const content = choices[0]?.logprobs?.content ?? [];
  expect(content).toHaveLength(usage?.completion_tokens ?? 0);
  expect(Buffer.from(content.flatMap((one) => one.bytes ?? [])).toString()).toBe(choices[0]?.message.content);
  for (const one of content) {
    expect(one.logprob).toBeLessThanOrEqual(0);
    expect(one.top_logprobs).toHaveLength(3);
    expect(one.top_logprobs[0]).toMatchObject({ token: one.token, logprob: one.logprob });
  }
});

test("more log probabilities than one process should make at once are refused, and as many as it may are made", async () => {
  const asked = { logprobs: true, top_logprobs: 20, max_tokens: 4_096 };
  expect(await ask("simulate: long 3000", asked).catch((error) => error)).toMatchObject({ status: 400, param: "top_logprobs" });
  expect(await ask("simulate: long 1500", { ...asked, n: 2 }).catch((error) => error)).toMatchObject({ status: 400 });
  const { choices } = await ask("simulate: long 2000", asked);
  expect(choices[0]?.logprobs?.content).toHaveLength(2_000);
});

describe("errors", () => {
  const user = { role: "user", content: "hi" };

  test.each<[string, unknown, string | null]>([
    ["a body that is no JSON", "{", null],
    ["no messages", { model: "m" }, "messages"],
    ["no messages in the list", { model: "m", messages: [] }, "messages"],
    ["messages that are no list", { model: "m", messages: "hi" }, "messages"],
    ["an unknown role", { model: "m", messages: [{ role: "bot", content: "hi" }] }, "messages[0].role"],
    ["no content", { model: "m", messages: [{ role: "user" }] }, "messages[0].content"],
    ["no model", { messages: [user] }, "model"],
    ["a limit of 0", { model: "m", messages: [user], max_tokens: 0 }, "max_tokens"],
    ["stream_options without a stream", { model: "m", messages: [user], stream_options: {} }, "stream_options"],
    [
      "a tool message that answers no call",
      { model: "m", messages: [user, { role: "tool", tool_call_id: "x", content: "" }] },
      "messages[1].role",
    ],
  ])("%s is a 400 that names the parameter", async (_, body, param) => {
    const response = await post("/chat/completions", body);
    expect(response.status).toBe(400);
    expect(await response.json()).toEqual({
      error: {
        message: expect.any(String),
        type: "invalid_request_error",
        param,
        code: body === "{" ? null : expect.toBeOneOf([expect.any(String), null]),
      },
    });
  });

  test("an unknown path is a 404, a wrong method a 405", async () => {
    expect((await post("/nothing", {})).status).toBe(404);
    expect(await (await post("/nothing", {})).json()).toMatchObject({
      error: { message: "Invalid URL (POST /v1/nothing)" },
    });
    expect((await fetch(`${simulator.url}/chat/completions`)).status).toBe(405);
  });

  test("a body beyond 32 MB is a 413", async () => {
    expect((await post("/chat/completions", "x".repeat(33 * 1024 * 1024))).status).toBe(413);
  });
});

describe("test hooks", () => {
  test("error gives that status in OpenAI's envelope, before anything is streamed", async () => {
    await expect(ask("simulate: error 500")).rejects.toMatchObject({ status: 500, type: "server_error" });
    await expect(ask("simulate: error 429")).rejects.toMatchObject({ status: 429, code: "rate_limit_exceeded" });
    await expect(askStream("simulate: error 503 please")).rejects.toMatchObject({ status: 503 });
  });

  test("slow answers after that time", async () => {
    const start = performance.now();
    expect((await ask("simulate: slow 80 what is tea?")).choices[0]?.message.content).toContain("tea");
    expect(performance.now() - start).toBeGreaterThan(75);
  });

  test("long gives exactly that many tokens", async () => {
    const { choices, usage } = await ask("simulate: long 500");
    expect(usage?.completion_tokens).toBe(500);
    expect(await countTextTokens(choices[0]?.message.content ?? "")).toBe(500);
    expect(choices[0]?.finish_reason).toBe("stop");
    expect((await ask("simulate: long 500", { max_tokens: 20 })).choices[0]?.finish_reason).toBe("length");
  });

  test("disconnect breaks a stream after some text", async () => {
    const stream = await openai.chat.completions.create({
      model: "m",
      messages: [{ role: "user", content: "simulate: disconnect" }],
      stream: true,
    });
    let text = "";
    const reading = async () => {
      for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? "";
    };
    await expect(reading()).rejects.toThrow();
    expect(text.length).toBeGreaterThan(10);
  });

  test("disconnect leaves a plain request without an answer", async () => {
    await expect(ask("simulate: disconnect")).rejects.toBeInstanceOf(OpenAI.APIConnectionError);
  });
});

describe("embeddings", () => {
  const embed = async (input: string, dimensions?: number) => {
    const { data } = await openai.embeddings.create({ model: "text-embedding-3-small", input, dimensions });
    return data[0]?.embedding ?? [];
  };
  const dot = (a: number[], b: number[]) => a.reduce((sum, value, index) => sum + value * (b[index] ?? 0), 0);

  test("vectors are of length 1, the same for the same text, and of the asked dimensions", async () => {
    const [tea, again, small] = [await embed("green tea"), await embed("green tea"), await embed("green tea", 64)];
    expect(tea).toHaveLength(1536);
    expect(again).toEqual(tea);
    expect(small).toHaveLength(64);
    for (const vector of [tea, small]) expect(dot(vector, vector)).toBeCloseTo(1, 4);
  });

  test("texts that share words are nearer than others", async () => {
    const [tea, near, far] = [await embed("a cup of green tea"), await embed("green tea in a pot"), await embed("stock prices fell")];
    expect(dot(tea, near)).toBeGreaterThan(dot(tea, far) + 0.2);
  });

  interface Embeddings {
    data: { embedding: unknown }[];
  }
  const postEmbeddings = async (body: object) => (await (await post("/embeddings", body)).json()) as Embeddings;

  test("float and base64 hold the same numbers, and usage counts the tokens", async () => {
    const body = { model: "m", input: ["hello world", "hello"], dimensions: 8 };
    const floats = await postEmbeddings(body);
    const coded = await postEmbeddings({ ...body, encoding_format: "base64" });
    const bytes = Buffer.from(String(coded.data[1]?.embedding), "base64");
    expect(floats.data[1]?.embedding).toEqual(Array.from({ length: 8 }, (_, index) => bytes.readFloatLE(index * 4)));
    expect(floats).toMatchObject({ object: "list", model: "m", usage: { prompt_tokens: 3, total_tokens: 3 } });
    expect(floats.data[0]).toMatchObject({ object: "embedding", index: 0 });
  });

  test("tokens are embedded as the text they stand for", async () => {
    const body = { model: "m", input: await encodeText("hello world"), dimensions: 8 };
    const text = await postEmbeddings({ ...body, input: "hello world" });
    expect((await postEmbeddings(body)).data).toEqual(text.data);
    expect((await post("/embeddings", { ...body, input: [99_999_999] })).status).toBe(400);
  });
});

test("models are listed", async () => {
  const { data } = await openai.models.list();
  expect(data.map((model) => model.id)).toContain("gpt-4o-mini");
  expect(await openai.models.retrieve("gpt-4o-mini")).toMatchObject({ object: "model" });
});
