import { describe, expect, test } from "vitest";
import { type Behaviour, chunk, completionChunks, delta, sse, toolCall, usage } from "../../../src/testing/upstream-answers.ts";
import { azureStream } from "../behaviours/azure.ts";
import { openai } from "../behaviours/openai.ts";
import { kimiUsage, openrouter, openrouterStream } from "../behaviours/openrouter.ts";
import { vllm } from "../behaviours/vllm.ts";
import type { Provider } from "../provider.ts";
import { buy } from "../server.ts";

const used = { usage: usage(1_000, 100) };
const [role = {}, text = {}, end = {}] = completionChunks(["Hello"]);
const late = chunk([delta({ content: " again" })]);
const call = chunk([delta({ tool_calls: [{ index: 0, ...toolCall("f", {}) }] })]);

describe("every stream reports its charge in `quota.credits_used`", () => {
  test.each([
    ["usage in a chunk with an empty choice", openrouter, openrouterStream, "Hello", "stop", 2_484],
    ["filter results before the answer and after its finish_reason", openai, azureStream, "Hello", "stop", 540],
    ["text after the finish_reason", vllm, sse([role, text, end, late, chunk([], used)]), "Hello again", "stop", 1_440],
    ["text with the usage after the finish_reason", vllm, sse([role, text, end, { ...late, ...used }]), "Hello again", "stop", 1_440],
    ["usage before the finish_reason", vllm, sse([role, text, chunk([], used), end]), "Hello", "stop", 1_440],
    ["no finish_reason", vllm, sse([role, text, chunk([], used)]), "Hello", "stop", 1_440],
    ["no finish_reason after a function call", vllm, sse([role, call, chunk([], used)]), "", "tool_calls", 1_440],
    [
      "an empty finish_reason on every chunk",
      vllm,
      sse([chunk([delta({ content: "Hello" }, { finishReason: "" })]), chunk([], used)]),
      "Hello",
      "stop",
      1_440,
    ],
  ] as [string, Provider, Behaviour, string, string, number][])("%s", async (_name, provider, behaviour, expectedText, reason, credits) => {
    for (const wantsUsage of [false, true]) {
      const body = wantsUsage ? { stream_options: { include_usage: true } } : {};
      const bought = await buy(provider, behaviour, { stream: true, body });
      expect([bought.toldCredits, bought.credits, bought.outcome, bought.countedBy]).toEqual([credits, credits, "completed", "provider"]);
      expect(bought.events.at(-1)).toBe("[DONE]");
      const chunks = bought.events.slice(0, -1);
      const delivered = chunks.flatMap(({ choices }) => choices.map((each: { delta?: { content?: string } }) => each.delta?.content ?? ""));
      expect(delivered.join("")).toBe(expectedText);
      // The last chunk with a choice has the finish_reason and `quota`. Only a usage chunk that the request asked for follows it.
      const ends = chunks.filter(({ choices }) => choices.length > 0 && choices[0].finish_reason);
      expect(ends.map(({ choices, quota }) => [choices[0].finish_reason, quota?.credits_used])).toEqual([[reason, credits]]);
      expect(chunks.at(-1).quota.credits_used).toBe(credits);
      if (wantsUsage) expect(chunks.findLast((each) => each.usage).usage).toMatchObject({ prompt_tokens: 1_000, completion_tokens: 100 });
      else expect(chunks.filter(({ choices }) => choices.length === 0)).toEqual([]);
    }
  });

  test("each of several choices has its finish_reason, and the last one `quota`", async () => {
    const at = (index: number, change: object, finishReason?: string) =>
      chunk([delta(change, { index, ...(finishReason ? { finishReason } : {}) })]);
    const behaviour = sse([at(0, { content: "a" }), at(0, {}, "stop"), at(1, { content: "b" }), chunk([], { usage: kimiUsage })]);
    const { events } = await buy(vllm, behaviour, { stream: true, body: { n: 2 } });
    const chunks = events.slice(0, -1);
    expect(chunks.map(({ choices, quota }) => [choices[0].index, choices[0].finish_reason, quota !== undefined])).toEqual([
      [0, null, false],
      [0, "stop", false],
      [1, null, false],
      [1, "stop", true],
    ]);
  });
});
