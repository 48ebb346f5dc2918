import { once } from "node:events";
import { request as httpRequest } from "node:http";
import OpenAI from "openai";
import { describe, expect, test } from "vitest";
import { startSimulator } from "./server.ts";
import { allOf, type Params, weather, withSimulator } from "./simulated.ts";

const { ask, askStream, openai, post, simulator } = withSimulator();

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

  test("a client that hangs up during a stream does not affect other requests", async () => {
    const stream = await openai().chat.completions.create({
      model: "m",
      messages: [{ role: "user", content: "simulate: long 30000" }],
      stream: true,
    });
    for await (const _ of stream) break;
    expect((await ask("Hello")).choices).toHaveLength(1);
  });

  test("a client that reads late gets the whole stream, and does not delay other requests", async () => {
    const request = httpRequest(`${simulator().url}/chat/completions`, { method: "POST" });
    request.end(JSON.stringify({ model: "m", messages: [{ role: "user", content: "simulate: long 32768" }], stream: true }));
    const [response] = await once(request, "response");
    response.pause();
    expect((await ask("Hello")).choices).toHaveLength(1);
    let text = "";
    for await (const part of response) text += part;
    expect(text.endsWith("data: [DONE]\n\n")).toBe(true);
  });

  test("a stream sends as many tokens a second as `tokensPerSecond`", async () => {
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
