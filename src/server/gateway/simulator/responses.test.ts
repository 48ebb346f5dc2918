import OpenAI, { APIError } from "openai";
import { afterAll, beforeAll, expect, test } from "vitest";
import { countTextTokens } from "../../pricing/tokens.ts";
import { type Simulator, startSimulator } from "./server.ts";

let simulator: Simulator;
let openai: OpenAI;

beforeAll(async () => {
  simulator = await startSimulator({ tokensPerSecond: Infinity });
  openai = new OpenAI({ baseURL: simulator.url, apiKey: "none", maxRetries: 0 });
});
afterAll(() => simulator.close());

type Params = Omit<OpenAI.Responses.ResponseCreateParamsNonStreaming, "model" | "stream">;
const ask = (params: Params) => openai.responses.create({ model: "gpt-4o-mini", ...params });

const weather: OpenAI.Responses.FunctionTool = {
  type: "function",
  name: "get_weather",
  description: "Forecast for a city",
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false },
  strict: true,
};

test("a response has every field of an OpenAI response, the tokenizer's counts as usage, and the settings of the request", async () => {
  const response = await ask({ input: "What is photosynthesis?", instructions: "Be brief.", store: false, metadata: { a: "b" } });
  expect(response).toMatchObject({
    id: expect.stringMatching(/^resp_\w{20,}$/),
    object: "response",
    status: "completed",
    error: null,
    incomplete_details: null,
    model: "gpt-4o-mini",
    instructions: "Be brief.",
    store: false,
    metadata: { a: "b" },
    output: [{ type: "message", role: "assistant", status: "completed", content: [{ type: "output_text", annotations: [] }] }],
    usage: { output_tokens: await countTextTokens(response.output_text), input_tokens_details: { cached_tokens: 0 } },
  });
  expect(response.output_text).toContain("photosynthesis");
});

test.each<[string, Params]>([
  ["a text", { input: "What is a volcano?" }],
  ["a call", { input: "What is the weather in Oslo?", tools: [weather] }],
  ["a limit", { input: "simulate: long 50", max_output_tokens: 16 }],
])("a stream of %s says what the JSON answer says, to OpenAI's own helper", async (_name, params) => {
  const whole = await ask(params);
  const streamed = await openai.responses.stream({ model: "gpt-4o-mini", ...params }).finalResponse();
  const plain = ({ output, status, usage, incomplete_details }: OpenAI.Responses.Response) =>
    JSON.parse(JSON.stringify({ status, usage, incomplete_details, output: output.map((item) => ({ ...item, id: "", call_id: "" })) }));
  expect(plain(streamed)).toMatchObject(plain(whole));
});

test("tool_choice decides which functions are called, and the answer after a result repeats the result", async () => {
  const none = await ask({ input: "What is the weather in Oslo?", tools: [weather], tool_choice: "none" });
  expect(none.output[0]?.type).toBe("message");
  const named = await ask({ input: "Hello", tools: [weather], tool_choice: { type: "function", name: "get_weather" } });
  const call = named.output[0];
  if (call?.type !== "function_call") throw new Error("no function was called");
  expect([call.name, JSON.parse(call.arguments)]).toEqual(["get_weather", { city: expect.any(String) }]);
  const after = await ask({
    tools: [weather],
    input: [
      { role: "user", content: "What is the weather in Oslo?" },
      call,
      { type: "function_call_output", call_id: call.call_id, output: '{"sky":"clear"}' },
    ],
  });
  expect(after.output_text).toContain("clear");
});

test("the text fits the schema of the request, and an answer counts images and files", async () => {
  const schema = { type: "object", properties: { name: { type: "string" } }, required: ["name"], additionalProperties: false };
  const structured = await ask({ input: "Describe Oslo", text: { format: { type: "json_schema", name: "city", schema, strict: true } } });
  expect(JSON.parse(structured.output_text)).toEqual({ name: expect.any(String) });
  const seen = await ask({
    input: [
      {
        role: "user",
        content: [
          { type: "input_text", text: "What is this?" },
          { type: "input_image", detail: "auto", image_url: "https://example.com/a.png" },
          { type: "input_file", file_url: "https://example.com/a.pdf" },
        ],
      },
    ],
  });
  expect(seen.output_text).toContain("1 image and 1 file");
});

test("invalid requests and simulated errors have OpenAI's envelope", async () => {
  const errorOf = async (work: PromiseLike<unknown>) => {
    try {
      await work;
    } catch (error) {
      if (error instanceof APIError) return [error.status, error.param];
    }
    throw new Error("it succeeded");
  };
  expect(await errorOf(ask({}))).toEqual([400, "input"]);
  expect(await errorOf(ask({ input: [{ role: "robot" as never, content: "hi" }] }))).toEqual([400, "input[0].role"]);
  expect(await errorOf(ask({ input: "simulate: error 429" }))).toEqual([429, null]);
});
