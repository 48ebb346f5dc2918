import { describe, expect, test } from "vitest";
import {
  type Behaviour,
  choice,
  chunk,
  completion,
  completionChunks,
  delta,
  message,
  messageEvents,
  messageUsage,
  namedEvents,
  sse,
  usage,
} from "../../../src/testing/upstream-answers.ts";
import type { Provider } from "../far-end.ts";
import { type Asked, buy } from "../stage.ts";
import { anthropic } from "../ways/anthropic.ts";
import { deepseek, deepseekUsage } from "../ways/deepseek.ts";
import { magistralContent, mistral, mistralUsage } from "../ways/mistral.ts";
import { kimiUsage, openrouter } from "../ways/openrouter.ts";
import { vllm } from "../ways/vllm.ts";

const text = [delta({ role: "assistant", content: "Hello" })];
const end = [delta({}, { finishReason: "stop" })];
const stream = true;
const toMessages = { path: "/v1/messages", body: { max_tokens: 1_000 } };

describe("usage, wherever it stands", () => {
  test.each([
    ["tokens from DeepSeek's cache", deepseek, completion({ usage: deepseekUsage }), {}, 188],
    ["the same in a stream", deepseek, sse(completionChunks(["Hello"], { usage: deepseekUsage })), { stream }, 188],
    ["tokens from Kimi's cache", openrouter, completion({ usage: kimiUsage }), {}, 2_484],
    ["tokens from Mistral's cache", mistral, completion({ usage: mistralUsage }), {}, 294],
    ["usage in a choice", openrouter, sse([chunk(text), chunk([{ ...end[0], usage: kimiUsage }])]), { stream }, 2_484],
    [
      "usage in a choice of an answer",
      openrouter,
      completion({ usage: null, choices: [{ ...choice({ content: "Hi" }), usage: kimiUsage }] }),
      {},
      2_484,
    ],
    [
      "an hour's cache, with zeros for it at the end",
      { ...anthropic, model: "claude-haiku-4-5" },
      namedEvents(withZeros(messageEvents(["Hello"], { usage: messageUsage(10, 100, { long: 2_000 }) }))),
      { ...toMessages, stream },
      5_412,
    ],
    [
      "a last output of zero",
      anthropic,
      namedEvents(messageEvents(["x"], { usage: messageUsage(1_000, 0) })),
      { ...toMessages, stream },
      3_600,
    ],
    ["a whole message", anthropic, message({ usage: messageUsage(1_000, 100) }), toMessages, 5_400],
  ] as [string, Provider, Behaviour, Asked, number][])("%s", async (_name, provider, way, asked, credits) => {
    const bought = await buy(provider, way, asked);
    expect([bought.told, bought.credits, bought.outcome, bought.countedBy]).toEqual([credits, credits, "completed", "provider"]);
  });

  test("a usage on the first chunk and none later was only a count so far: the answer is counted here", async () => {
    const first = chunk(text, { usage: usage(1_000, 1) });
    const ways = [
      sse([first, chunk([delta({ content: " world" })]), chunk(end)]),
      sse([first, chunk([delta({ content: " world" }, { finishReason: "stop" })])]),
    ];
    for (const way of ways) {
      const bought = await buy(vllm, way, { stream });
      expect([bought.countedBy, bought.outputTokens, bought.told]).toEqual(["tokenizer", 2, bought.credits]);
    }
  });
});

describe("an answer without usage", () => {
  test.each([
    ["counts its reasoning", { reasoning_content: "hello world", content: "hello" }, 3],
    [
      "counts reasoning once that comes under two names",
      { reasoning: "hello world", reasoning_content: "hello world", content: "hello" },
      3,
    ],
    ["counts the parts of its content", { content: magistralContent }, 3],
    ["counts the calls that it can read", { content: null, tool_calls: [null, "x", { function: { name: "hello", arguments: {} } }] }, 2],
  ] as [string, object, number][])("%s", async (_name, written, tokens) => {
    const whole = await buy(vllm, completion({ usage: null, choices: [choice(written)] }));
    expect([whole.answer.status, whole.countedBy, whole.outputTokens, whole.told]).toEqual([200, "tokenizer", tokens, whole.credits]);
    const streamed = await buy(vllm, sse([chunk([delta(written)]), chunk(end)]), { stream });
    expect([streamed.countedBy, streamed.outputTokens, streamed.told]).toEqual(["tokenizer", tokens, streamed.credits]);
  });
});

/** As Anthropic's last count has it: zeros for what was counted at the start. */
function withZeros(all: object[]): object[] {
  const zeros = { cache_creation: { ephemeral_5m_input_tokens: 0, ephemeral_1h_input_tokens: 0 } };
  return all.map((each) => {
    const { type, usage: counts } = each as { type: string; usage?: object };
    return type === "message_delta" ? { ...each, usage: { ...counts, ...zeros } } : each;
  });
}
