import type OpenAI from "openai";
import { describe, expect, test } from "vitest";
import { countTextTokens } from "../../pricing/tokens.ts";
import { weather, withSimulator } from "./simulated.ts";

const { ask, askStream, openai } = withSimulator();

const stocks: OpenAI.ChatCompletionTool = {
  type: "function",
  function: {
    name: "quoteStocks",
    parameters: { type: "object", properties: { symbol: { type: "string" } }, required: ["symbol"] },
  },
};

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

  test("a function that tool_choice names is called for any message", async () => {
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
    const second = await openai().chat.completions.create({
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
