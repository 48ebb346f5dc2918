import Anthropic, { APIError } from "@anthropic-ai/sdk";
import { afterAll, beforeAll, expect, test } from "vitest";
import { countTextTokens } from "../../pricing/tokens.ts";
import { type Simulator, startSimulator } from "./server.ts";

let simulator: Simulator;
let anthropic: Anthropic;

beforeAll(async () => {
  simulator = await startSimulator({ tokensPerSecond: Infinity });
  anthropic = new Anthropic({ baseURL: simulator.url.replace(/\/v1$/, ""), apiKey: "none", maxRetries: 0 });
});
afterAll(() => simulator.close());

type Params = Partial<Anthropic.MessageCreateParamsNonStreaming>;
const params = (content: string, more: Params = {}): Anthropic.MessageCreateParamsNonStreaming => ({
  model: "claude-haiku-4-5",
  max_tokens: 1_000,
  messages: [{ role: "user", content }],
  ...more,
});
const ask = (content: string, more: Params = {}) => anthropic.messages.create(params(content, more));
const textOf = ({ content }: Anthropic.Message) => content.map((block) => (block.type === "text" ? block.text : "")).join("");

const weather: Anthropic.Tool = {
  name: "get_weather",
  description: "Forecast for a city",
  input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false },
};

test("a message has every field of an Anthropic message, and the tokenizer's counts as usage", async () => {
  const message = await ask("What is photosynthesis?");
  expect(message).toMatchObject({
    id: expect.stringMatching(/^msg_\w{20,}$/),
    type: "message",
    role: "assistant",
    model: "claude-haiku-4-5",
    content: [{ type: "text", text: expect.stringContaining("photosynthesis") }],
    stop_reason: "end_turn",
    stop_sequence: null,
    usage: { input_tokens: expect.any(Number), cache_read_input_tokens: 0, output_tokens: await countTextTokens(textOf(message)) },
  });
});

test.each([
  ["a text", "What is a volcano?", {}],
  ["a tool", "What is the weather in Oslo?", { tools: [weather] }],
  ["a limit", "simulate: long 50", { max_tokens: 7 }],
  ["nothing at all", "Hello", { max_tokens: 0 }],
])("a stream of %s says what the JSON answer says", async (_name, content, more) => {
  const whole = await ask(content, more);
  const streamed = await anthropic.messages.stream(params(content, more)).finalMessage();
  const plain = (message: Anthropic.Message) =>
    JSON.parse(JSON.stringify({ ...message, id: "", content: message.content.map((block) => ({ ...block, id: "" })) }));
  expect(plain(streamed)).toMatchObject(plain(whole));
});

test("tool_choice decides which tools are called, and the answer after a result repeats the result", async () => {
  const none = await ask("What is the weather in Oslo?", { tools: [weather], tool_choice: { type: "none" } });
  expect(none.stop_reason).toBe("end_turn");
  const any = await ask("Hello", { tools: [weather], tool_choice: { type: "any" } });
  expect([any.stop_reason, any.content[0]]).toMatchObject(["tool_use", { name: "get_weather", input: { city: expect.any(String) } }]);
  const id = any.content[0]?.type === "tool_use" ? any.content[0].id : "";
  const after = await ask("", {
    tools: [weather],
    messages: [
      { role: "user", content: "What is the weather in Oslo?" },
      { role: "assistant", content: any.content },
      { role: "user", content: [{ type: "tool_result", tool_use_id: id, content: [{ type: "text", text: '{"sky":"clear"}' }] }] },
    ],
  });
  expect(textOf(after)).toContain("clear");
});

test("the text ends before a stop sequence, which `stop_sequence` names", async () => {
  const full = textOf(await ask("What is a volcano?"));
  const message = await ask("What is a volcano?", { stop_sequences: ["zzz", "the"] });
  expect(textOf(message)).toBe(full.slice(0, full.indexOf("the")));
  expect([message.stop_reason, message.stop_sequence]).toEqual(["stop_sequence", "the"]);
});

test("the output fits the schema of the request, and system prompts, images and documents are read", async () => {
  const schema = { type: "object" as const, properties: { name: { type: "string" } }, required: ["name"], additionalProperties: false };
  const structured = await ask("Describe Oslo", { output_config: { format: { type: "json_schema", schema } } });
  expect(JSON.parse(textOf(structured))).toEqual({ name: expect.any(String) });
  const seen = await ask("", {
    system: [{ type: "text", text: "Be brief." }],
    messages: [
      {
        role: "user",
        content: [
          { type: "text", text: "What is this?" },
          { type: "image", source: { type: "url", url: "https://example.com/a.png" } },
          { type: "document", source: { type: "text", media_type: "text/plain", data: "hello" } },
        ],
      },
    ],
  });
  expect(textOf(seen)).toContain("1 image and 1 file");
});

test("invalid requests and simulated errors come in Anthropic's envelope", async () => {
  const errorOf = async (work: PromiseLike<unknown>) => {
    try {
      await work;
    } catch (error) {
      if (error instanceof APIError) return [error.status, error.type];
    }
    throw new Error("it succeeded");
  };
  expect(await errorOf(ask("hi", { max_tokens: undefined as never }))).toEqual([400, "invalid_request_error"]);
  expect(await errorOf(ask("hi", { messages: [{ role: "robot" as never, content: "hi" }] }))).toEqual([400, "invalid_request_error"]);
  expect(await errorOf(ask("simulate: error 429"))).toEqual([429, "rate_limit_error"]);
  expect(await errorOf(ask("simulate: error 529"))).toEqual([529, "overloaded_error"]);
});
