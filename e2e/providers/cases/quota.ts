import { describe, expect, test } from "vitest";
import { type Behaviour, chunk, completionChunks, delta, sse, toolCall, usage } from "../../../src/testing/upstream-answers.ts";
import type { Provider } from "../far-end.ts";
import { buy } from "../stage.ts";
import { azureStream } from "../ways/azure.ts";
import { openai } from "../ways/openai.ts";
import { kimiUsage, openrouter, openrouterStream } from "../ways/openrouter.ts";
import { vllm } from "../ways/vllm.ts";

const used = { usage: usage(1_000, 100) };
const [role = {}, text = {}, end = {}] = completionChunks(["Hello"]);
const late = chunk([delta({ content: " again" })]);
const call = chunk([delta({ tool_calls: [{ index: 0, ...toolCall("f", {}) }] })]);

describe("the bill is told in every stream", () => {
  test.each([
    ["usage in a chunk with an empty choice", openrouter, openrouterStream, "Hello", "stop", 2_484],
    ["filter results before the answer and after its end", openai, azureStream, "Hello", "stop", 540],
    ["late text after the end", vllm, sse([role, text, end, late, chunk([], used)]), "Hello again", "stop", 1_440],
    ["late text that has the usage", vllm, sse([role, text, end, { ...late, ...used }]), "Hello again", "stop", 1_440],
    ["usage before an end that comes late", vllm, sse([role, text, chunk([], used), end]), "Hello", "stop", 1_440],
    ["no end at all", vllm, sse([role, text, chunk([], used)]), "Hello", "stop", 1_440],
    ["no end after a call of a function", vllm, sse([role, call, chunk([], used)]), "", "tool_calls", 1_440],
    [
      "an empty end on every chunk",
      vllm,
      sse([chunk([delta({ content: "Hello" }, { finishReason: "" })]), chunk([], used)]),
      "Hello",
      "stop",
      1_440,
    ],
  ] as [string, Provider, Behaviour, string, string, number][])("%s", async (_name, provider, way, said, reason, credits) => {
    for (const wantsUsage of [false, true]) {
      const body = wantsUsage ? { stream_options: { include_usage: true } } : {};
      const bought = await buy(provider, way, { stream: true, body });
      expect([bought.told, bought.credits, bought.outcome, bought.countedBy]).toEqual([credits, credits, "completed", "provider"]);
      expect(bought.events.at(-1)).toBe("[DONE]");
      const chunks = bought.events.slice(0, -1);
      const delivered = chunks.flatMap(({ choices }) => choices.map((each: { delta?: { content?: string } }) => each.delta?.content ?? ""));
      expect(delivered.join("")).toBe(said);
      // The end is the last chunk with a choice, and has the quota; after it comes only the usage that was asked for.
      const ends = chunks.filter(({ choices }) => choices.length > 0 && choices[0].finish_reason);
      expect(ends.map(({ choices, quota }) => [choices[0].finish_reason, quota?.credits_used])).toEqual([[reason, credits]]);
      expect(chunks.at(-1).quota.credits_used).toBe(credits);
      if (wantsUsage) expect(chunks.findLast((each) => each.usage).usage).toMatchObject({ prompt_tokens: 1_000, completion_tokens: 100 });
      else expect(chunks.filter(({ choices }) => choices.length === 0)).toEqual([]);
    }
  });

  test("of several choices each has its end, and the last one the quota", async () => {
    const at = (index: number, change: object, finishReason?: string) =>
      chunk([delta(change, { index, ...(finishReason ? { finishReason } : {}) })]);
    const way = sse([at(0, { content: "a" }), at(0, {}, "stop"), at(1, { content: "b" }), chunk([], { usage: kimiUsage })]);
    const { events } = await buy(vllm, way, { stream: true, body: { n: 2 } });
    const chunks = events.slice(0, -1);
    expect(chunks.map(({ choices, quota }) => [choices[0].index, choices[0].finish_reason, quota !== undefined])).toEqual([
      [0, null, false],
      [0, "stop", false],
      [1, null, false],
      [1, "stop", true],
    ]);
  });
});
