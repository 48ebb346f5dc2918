import OpenAI from "openai";
import { afterAll, beforeAll } from "vitest";
import { type Simulator, startSimulator } from "./server.ts";

/** What a test sets of a request, besides model and message. */
export type Params = Omit<OpenAI.ChatCompletionCreateParamsNonStreaming, "model" | "messages">;

/** Starts a simulator that sends as fast as it can for the tests of a file, with functions that send it requests. */
export function withSimulator() {
  let simulator: Simulator;
  let openai: OpenAI;
  beforeAll(async () => {
    simulator = await startSimulator({ tokensPerSecond: Infinity });
    openai = new OpenAI({ baseURL: simulator.url, apiKey: "none", maxRetries: 0 });
  });
  afterAll(() => simulator.close());

  return {
    simulator: () => simulator,
    /** A client that does not retry. */
    openai: () => openai,
    /** The completion of a conversation of one message. */
    ask(content: string, more: Params = {}) {
      return openai.chat.completions.create({ model: "gpt-4o-mini", messages: [{ role: "user", content }], ...more });
    },
    /** The chunks of the same, as a stream with usage. */
    async askStream(content: string, more: Params = {}): Promise<OpenAI.ChatCompletionChunk[]> {
      const stream = await openai.chat.completions.create({
        model: "gpt-4o-mini",
        messages: [{ role: "user", content }],
        ...more,
        stream: true,
        stream_options: { include_usage: true },
      });
      return allOf(stream);
    },
    /** Sends text as it is, and other bodies as JSON. `path` begins after `/v1`. */
    post(path: string, body: unknown): Promise<Response> {
      return fetch(simulator.url + path, { method: "POST", body: typeof body === "string" ? body : JSON.stringify(body) });
    },
  };
}

export async function allOf<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const one of stream) all.push(one);
  return all;
}

/** A function whose schema has a required string and a required value of an enum. */
export const weather: OpenAI.ChatCompletionTool = {
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
