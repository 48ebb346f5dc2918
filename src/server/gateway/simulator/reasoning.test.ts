import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Simulator, startSimulator } from "./server.ts";

let simulator: Simulator;
beforeAll(async () => {
  simulator = await startSimulator({ tokensPerSecond: Number.POSITIVE_INFINITY });
});
afterAll(() => simulator.close());

async function ask(path: string, body: object) {
  const response = await fetch(simulator.url + path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const text = await response.text();
  const streamed = response.headers.get("content-type")?.startsWith("text/event-stream") === true;
  const events = text.split("\n\n").flatMap((event) => /^data: (\{.*)$/m.exec(event)?.[1] ?? []);
  return {
    status: response.status,
    json: (streamed ? null : JSON.parse(text)) as Any,
    events: events.map((data) => JSON.parse(data)) as Any[],
  };
}

// biome-ignore lint/suspicious/noExplicitAny: tests assert on answers of any shape
type Any = any;

const user = (content: string) => [{ role: "user", content }];

describe("a model that reasons", () => {
  test("counts its hidden reasoning in a chat completion, unless the request turns reasoning off", async () => {
    const reasoned = async (rest: object) =>
      (await ask("/chat/completions", { messages: user("hi"), ...rest })).json.usage.completion_tokens_details.reasoning_tokens;
    expect(await reasoned({ model: "gpt-5-mini" })).toBeGreaterThan(10);
    expect(await reasoned({ model: "gpt-5-mini", reasoning_effort: "none" })).toBe(0);
    expect(await reasoned({ model: "gpt-4o-mini" })).toBe(0);
    expect(await reasoned({ model: "gpt-4o-mini", reasoning_effort: "low" })).toBeGreaterThan(10);
    // Reasoning takes at most half of the limit, so that tokens for an answer are left.
    expect(await reasoned({ model: "gpt-5-mini", max_completion_tokens: 20 })).toBe(10);
  });

  test("answers with reasoning items, encrypted and summarised when the request asks for it, and accepts only items that it signed", async () => {
    const include = ["reasoning.encrypted_content"];
    const body = { model: "gpt-5-mini", input: user("hi") };
    const plain = (await ask("/responses", body)).json;
    expect(plain.output[0]).toEqual({ id: expect.stringMatching(/^rs_/), type: "reasoning", summary: [] });
    expect(plain.usage.output_tokens_details.reasoning_tokens).toBeGreaterThan(10);
    const { json } = await ask("/responses", { ...body, include, reasoning: { summary: "auto" } });
    expect(json.output[0].summary[0].text).toMatch(/simulator/);
    const again = async (item: object) => (await ask("/responses", { ...body, input: [...user("hi"), item, ...user("and?")] })).status;
    expect(await again(json.output[0])).toBe(200);
    expect(await again({ ...json.output[0], encrypted_content: `${json.output[0].encrypted_content}x` })).toBe(400);
    expect(await again(plain.output[0])).toBe(400);
    const { events } = await ask("/responses", { ...body, include, reasoning: { summary: "auto" }, stream: true });
    expect(events.at(-1).response.output[0]).toMatchObject({ type: "reasoning", encrypted_content: expect.any(String) });
    expect(events.map(({ type }) => type)).toContain("response.reasoning_summary_text.delta");
  });

  test("answers with signed thinking blocks, and accepts only blocks that it signed", async () => {
    const body = {
      model: "claude-haiku-4-5",
      max_tokens: 4_096,
      messages: user("hi"),
      thinking: { type: "enabled", budget_tokens: 1_024 },
    };
    const { json } = await ask("/messages", body);
    expect(json.content.map(({ type }: { type: string }) => type)).toEqual(["thinking", "text"]);
    expect(json.usage.output_tokens_details.thinking_tokens).toBeGreaterThan(10);
    const again = async (block: object) =>
      (
        await ask("/messages", {
          ...body,
          messages: [...user("hi"), { role: "assistant", content: [block, json.content[1]] }, ...user("and?")],
        })
      ).status;
    expect(await again(json.content[0])).toBe(200);
    expect(await again({ ...json.content[0], signature: "c2ln" })).toBe(400);
    const { events } = await ask("/messages", { ...body, thinking: { type: "adaptive", display: "omitted" }, stream: true });
    const deltas = events.filter(({ type }) => type === "content_block_delta").map(({ delta }) => delta.type);
    expect(deltas.slice(0, 2)).toEqual(["signature_delta", "text_delta"]);
    expect((await ask("/messages", { ...body, max_tokens: 1_024 })).status).toBe(400);
  });
});

describe("the prompt cache", () => {
  const long = () => `${crypto.randomUUID()} ${"Some words of a long prompt. ".repeat(400)}`;

  test("has the beginning of a long conversation that was sent before, in chat completions and responses", async () => {
    const first = user(long());
    const cached = async (messages: object[]) => {
      const { usage } = (await ask("/chat/completions", { model: "gpt-4o-mini", messages })).json;
      return usage.prompt_tokens_details.cached_tokens as number;
    };
    expect(await cached(first)).toBe(0);
    const more = await cached([...first, { role: "assistant", content: "ok" }, ...user("and?")]);
    expect(more).toBeGreaterThan(1_024);
    expect(more % 128).toBe(0);
    expect(await cached(user("short"))).toBe(0);
  });

  test("of the Messages API is written and read when the request has a cache_control mark", async () => {
    const content = (ttl?: string) => [{ type: "text", text, cache_control: { type: "ephemeral", ...(ttl === undefined ? {} : { ttl }) } }];
    const text = long();
    const usage = async (messages: object[]) =>
      (await ask("/messages", { model: "claude-haiku-4-5", max_tokens: 100, messages })).json.usage;
    const plain = await usage(user(text));
    expect([plain.cache_creation_input_tokens, plain.cache_read_input_tokens]).toEqual([0, 0]);
    const written = await usage([{ role: "user", content: content("1h") }]);
    expect(written.cache_creation.ephemeral_1h_input_tokens).toBe(written.cache_creation_input_tokens);
    expect([written.cache_creation_input_tokens, written.input_tokens]).toEqual([plain.input_tokens, 0]);
    const read = await usage([{ role: "user", content: content("1h") }]);
    expect(read.cache_read_input_tokens).toBeGreaterThan(1_024);
  });
});

describe("simulate: call", () => {
  const tools = [{ type: "function", function: { name: "run", parameters: { type: "object", properties: {} } } }];
  const called = async (content: string, more: object[] = []) =>
    (await ask("/chat/completions", { model: "gpt-4o-mini", tools, messages: [...user(content), ...more] })).json.choices[0].message;

  test("calls that function with these arguments once, on any line of the message, and then answers with its result", async () => {
    const line = 'simulate: call run {"cmd":"echo {1} > a.txt"} and more';
    for (const content of [line, `<context>\nabout\n</context>\n${line}\n`]) {
      const { tool_calls } = await called(content);
      expect(tool_calls.map(({ function: f }: { function: object }) => f)).toEqual([
        { name: "run", arguments: '{"cmd":"echo {1} > a.txt"}' },
      ]);
      const result = [
        { role: "assistant", tool_calls },
        { role: "tool", tool_call_id: tool_calls[0].id, content: "done" },
      ];
      expect((await called(content, result)).content).toContain("The result of run says: done");
    }
  });

  test("of an unknown function is treated as text", async () => {
    expect((await called("simulate: call walk {}")).content).toEqual(expect.any(String));
  });

  test("calls functions of a namespace, functions that the conversation adds, and custom tools with text", async () => {
    const respond = async (rest: object, name = "run", input = '{"input":"x"}') =>
      (await ask("/responses", { model: "gpt-4o-mini", input: user(`simulate: call ${name} ${input}`), ...rest })).json.output[0];
    const own = { type: "function", name: "run", parameters: {} };
    expect(await respond({ tools: [{ type: "namespace", name: "n", tools: [own] }] })).toMatchObject({
      type: "function_call",
      namespace: "n",
    });
    const added = { type: "additional_tools", role: "developer", tools: [own] };
    expect(await respond({ input: [added, ...user("simulate: call run {}")] })).toMatchObject({ type: "function_call", name: "run" });
    expect(await respond({ tools: [{ type: "custom", name: "run" }] })).toMatchObject({ type: "custom_tool_call", input: "x" });
  });
});
