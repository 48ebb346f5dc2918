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
import { anthropic } from "../behaviours/anthropic.ts";
import { deepseek, deepseekUsage } from "../behaviours/deepseek.ts";
import { magistralContent, mistral, mistralUsage } from "../behaviours/mistral.ts";
import { kimiUsage, openrouter } from "../behaviours/openrouter.ts";
import { vllm } from "../behaviours/vllm.ts";
import type { Provider } from "../provider.ts";
import { type BuyOptions, buy } from "../server.ts";

const text = [delta({ role: "assistant", content: "Hello" })];
const end = [delta({}, { finishReason: "stop" })];
const stream = true;
const toMessages = { path: "/v1/messages", body: { max_tokens: 1_000 } };

describe("usage is billed from each place where a provider reports it", () => {
  test.each([
    ["tokens from DeepSeek's cache", deepseek, completion({ usage: deepseekUsage }), {}, 188],
    ["tokens from DeepSeek's cache in a stream", deepseek, sse(completionChunks(["Hello"], { usage: deepseekUsage })), { stream }, 188],
    ["tokens from Kimi's cache", openrouter, completion({ usage: kimiUsage }), {}, 2_484],
    ["tokens from Mistral's cache", mistral, completion({ usage: mistralUsage }), {}, 294],
    ["usage in a choice of a stream", openrouter, sse([chunk(text), chunk([{ ...end[0], usage: kimiUsage }])]), { stream }, 2_484],
    [
      "usage in a choice of a JSON answer",
      openrouter,
      completion({ usage: null, choices: [{ ...choice({ content: "Hi" }), usage: kimiUsage }] }),
      {},
      2_484,
    ],
    [
      "one-hour cache writes that the last event reports as zero",
      { ...anthropic, model: "claude-haiku-4-5" },
      namedEvents(withZeros(messageEvents(["Hello"], { usage: messageUsage(10, 100, { long: 2_000 }) }))),
      { ...toMessages, stream },
      5_412,
    ],
    [
      "an output of zero in the last event",
      anthropic,
      namedEvents(messageEvents(["x"], { usage: messageUsage(1_000, 0) })),
      { ...toMessages, stream },
      3_600,
    ],
    ["a whole message", anthropic, message({ usage: messageUsage(1_000, 100) }), toMessages, 5_400],
  ] as [string, Provider, Behaviour, BuyOptions, number][])("%s", async (_name, provider, behaviour, options, credits) => {
    const bought = await buy(provider, behaviour, options);
    expect([bought.toldCredits, bought.credits, bought.outcome, bought.countedBy]).toEqual([credits, credits, "completed", "provider"]);
  });

  test("usage on the first chunk only is not final, so Quota counts the tokens of the answer", async () => {
    const first = chunk(text, { usage: usage(1_000, 1) });
    const behaviours = [
      sse([first, chunk([delta({ content: " world" })]), chunk(end)]),
      sse([first, chunk([delta({ content: " world" }, { finishReason: "stop" })])]),
    ];
    for (const behaviour of behaviours) {
      const bought = await buy(vllm, behaviour, { stream });
      expect([bought.countedBy, bought.outputTokens, bought.toldCredits]).toEqual(["tokenizer", 2, bought.credits]);
    }
  });
});

describe("an answer without usage", () => {
  test.each([
    ["counts its reasoning", { reasoning_content: "hello world", content: "hello" }, 3],
    [
      "counts reasoning once when it comes under two names",
      { reasoning: "hello world", reasoning_content: "hello world", content: "hello" },
      3,
    ],
    ["counts the parts of its content", { content: magistralContent }, 3],
    [
      "counts the tool calls that are well formed",
      { content: null, tool_calls: [null, "x", { function: { name: "hello", arguments: {} } }] },
      2,
    ],
  ] as [string, object, number][])("%s", async (_name, written, tokens) => {
    const whole = await buy(vllm, completion({ usage: null, choices: [choice(written)] }));
    expect([whole.answer.status, whole.countedBy, whole.outputTokens, whole.toldCredits]).toEqual([
      200,
      "tokenizer",
      tokens,
      whole.credits,
    ]);
    const streamed = await buy(vllm, sse([chunk([delta(written)]), chunk(end)]), { stream });
    expect([streamed.countedBy, streamed.outputTokens, streamed.toldCredits]).toEqual(["tokenizer", tokens, streamed.credits]);
  });
});

/** Anthropic's last usage reports zero cache writes, although the first one counted them. */
function withZeros(all: object[]): object[] {
  const zeros = { cache_creation: { ephemeral_5m_input_tokens: 0, ephemeral_1h_input_tokens: 0 } };
  return all.map((each) => {
    const { type, usage: counts } = each as { type: string; usage?: object };
    return type === "message_delta" ? { ...each, usage: { ...counts, ...zeros } } : each;
  });
}
