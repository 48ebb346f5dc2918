import { describe, expect, test } from "vitest";
import { refusalOf } from "#testing/dialects.ts";
import { growsWhileItRuns } from "../share.ts";
import { chatCompletions } from "./chat-completions.ts";
import { embeddings } from "./embeddings.ts";

const noHeaders = () => null;
const readChatRequest = (text: string) => chatCompletions.read(text, noHeaders);
const readEmbeddingsRequest = (text: string) => embeddings.read(text, noHeaders);

const messages = [{ role: "user", content: "hi" }];
const chat = (rest: object = {}) => readChatRequest(JSON.stringify({ model: "gpt-4o-mini", messages, ...rest }));

describe("reading a chat request", () => {
  test.each([
    ["true, then false", '"include_usage":true,"include_usage":false'],
    ["false, then true", '"include_usage":false,"include_usage":true'],
  ])("a member of stream_options that occurs twice is refused: %s", (_order, members) => {
    const text = `{"model":"gpt-4o-mini","stream":true,"messages":${JSON.stringify(messages)},"stream_options":{${members}}}`;
    const { code, param } = refusalOf(() => readChatRequest(text));
    expect([code, param]).toEqual(["bad_request", "stream_options.include_usage"]);
  });

  test.each([
    ["messages", "hi", "messages"],
    ["messages", ["hi"], "messages[0]"],
    ["messages", [null], "messages[0]"],
    ["messages", [...messages, { content: "hi" }], "messages[1].role"],
    ["messages", [{ role: 5 }], "messages[0].role"],
    ["stream_options", [], "stream_options"],
    ["stream_options", "usage", "stream_options"],
    ["n", 0, "n"],
    ["n", 129, "n"],
    ["n", 1.5, "n"],
    ["n", "1", "n"],
    ["max_tokens", 0, "max_tokens"],
    ["max_completion_tokens", 0, "max_completion_tokens"],
    ["max_completion_tokens", {}, "max_completion_tokens"],
    ["web_search_options", {}, "web_search_options"],
    ["modalities", ["text", "audio"], "modalities"],
    ["audio", { voice: "alloy" }, "audio"],
    ["prompt_cache_options", { ttl: "12h" }, "prompt_cache_options"],
    [
      "messages",
      [{ role: "user", content: [{ type: "text", text: "x", prompt_cache_breakpoint: { mode: "explicit", ttl: "12h" } }] }],
      "messages",
    ],
  ])("%s: %j is refused as %s", (field, value, param) => {
    const { code, param: named } = refusalOf(() => chat({ [field]: value }));
    expect([code, named]).toEqual(["bad_request", param]);
  });

  test("null means the same as an absent member, as in OpenAI's API", () => {
    const request = chat({ stream: null, n: null, max_tokens: null, max_completion_tokens: null, stream_options: null, audio: null });
    expect(request).toMatchObject({ stream: false, choices: 1, askedOutput: null, outputLimitFields: [] });
  });

  test("of two output limits the lower one applies, and both members are listed for lowering", () => {
    expect(chat({ max_tokens: 100, max_completion_tokens: 50 })).toMatchObject({
      askedOutput: 50,
      outputLimitFields: ["max_tokens", "max_completion_tokens"],
    });
  });

  test.each([
    [{ thinking: { type: "enabled", budget_tokens: 4_000 } }, true, 4_016],
    [{ thinking: { type: "adaptive" } }, true, 16],
    [{ thinking: { type: "disabled" } }, false, 16],
    [{ reasoning_effort: "high" }, true, 16],
    [{ reasoning_effort: "none" }, false, 16],
    [{ reasoning: { effort: "high", exclude: true } }, true, 16],
    [{ reasoning: { enabled: true, max_tokens: 2_000 } }, true, 2_016],
    [{ reasoning: { enabled: false } }, false, 16],
    [{ thinking: true, reasoning: "x" }, true, 16],
    [{ thinking: null, reasoning: null, reasoning_effort: null }, false, 16],
  ])(
    "%j: sets whether only the provider can count the reasoning, and the least output limit",
    (fields, onlyProviderCounts, leastOutput) => {
      const request = chat({ model: "claude-sonnet-4-6", stream: true, ...fields });
      expect(request).toMatchObject({ onlyProviderCounts, leastOutput });
      expect(growsWhileItRuns(request)).toBe(!onlyProviderCounts);
    },
  );

  test.each([
    [{ Thinking: { type: "enabled" } }, "Thinking"],
    [{ reasoningEffort: "high" }, "reasoningEffort"],
  ])("%j is refused, because the hold would not cover its reasoning", (fields, param) => {
    const { code, param: named } = refusalOf(() => chat(fields));
    expect([code, named]).toEqual(["bad_request", param]);
  });
});

test("the tokens of an answer are those of its texts, refusals and reasoning, and of the names and arguments of its calls", async () => {
  const call = { id: "call_1", type: "function", function: { name: "hello", arguments: "hello world" } };
  const custom = { id: "call_2", type: "custom", custom: { name: "hello", input: "hello world" } };
  const message = {
    content: "hello world",
    refusal: "hello",
    reasoning: "hello",
    tool_calls: [call, custom],
    function_call: call.function,
  };
  expect(await chatCompletions.countAnswer({ choices: [{ message }, { message: { content: null } }] }, "app")).toBe(
    2 + 1 + 1 + 3 * (1 + 2),
  );
});

describe("reading an embeddings request", () => {
  test("takes text, texts and tokens, and refuses other inputs and models by their member", () => {
    for (const input of ["a", ["a", "b"], [1, 2], [[1], [2]]])
      expect(readEmbeddingsRequest(JSON.stringify({ model: "text-embedding-3-small", input })).askedOutput).toBe(0);
    for (const input of [undefined, null, ""])
      expect(refusalOf(() => readEmbeddingsRequest(JSON.stringify({ model: "text-embedding-3-small", input }))).param).toBe("input");
    expect(refusalOf(() => readEmbeddingsRequest('{"model":"gpt-4o-mini","input":"a"}')).param).toBe("model");
  });

  test.each([5, true, {}, [], [null], [{}], [["a"]]])("input %j is refused", (input) => {
    expect(refusalOf(() => readEmbeddingsRequest(JSON.stringify({ model: "text-embedding-3-small", input }))).param).toBe("input");
  });
});
