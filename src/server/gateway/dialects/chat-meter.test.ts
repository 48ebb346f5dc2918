import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { runCut } from "#testing/cut-stream.ts";
import { anyChatStream, dataOf } from "#testing/dialects.ts";
import { chunk, delta, event, toolCall, usage } from "#testing/upstream-answers.ts";
import { countTextTokens } from "../../pricing/tokens.ts";
import { ChatMeter } from "./chat-meter.ts";
import { eventData, eventsIn } from "./server-sent-events.ts";

const QUOTA = '{"credits_used":5}';
const used = { promptTokens: 10, cachedTokens: 0, cacheWriteTokens: 0, completionTokens: 7 };

const run = (stream: Uint8Array, cuts: readonly number[], options: { includeUsage: boolean } = { includeUsage: false }) =>
  runCut(new ChatMeter(options), stream, cuts, QUOTA);

describe("ChatMeter", () => {
  test("every text reaches the client, quota is on the last finish chunk, and [DONE] is last", () => {
    fc.assert(
      fc.property(anyChatStream, fc.array(fc.nat(), { maxLength: 12 }), ({ shape, bytes }, cuts) => {
        fc.pre(!shape.failure && shape.usage !== "first chunk");
        const { client, usage: found, finished } = run(bytes, cuts);
        const data = eventsIn(client).flatMap((each) => eventData(each) ?? []);
        expect(data.at(-1)).toBe("[DONE]");
        const chunks = data
          .slice(0, -1)
          .map((each) => JSON.parse(each) as { choices: { delta: { content?: string }; finish_reason: string | null }[]; quota?: unknown });
        const finishTexts = shape.finishText === undefined ? [] : Array<string>(shape.choices).fill(shape.finishText);
        expect(chunks.flatMap(({ choices }) => choices.map((each) => each.delta.content ?? "")).join("")).toBe(
          [...shape.texts, ...finishTexts].join(""),
        );
        expect(chunks.filter(({ choices }) => choices.length === 0)).toEqual([]);
        expect(chunks.flatMap((each, index) => (each.quota === undefined ? [] : [index]))).toEqual([chunks.length - 1]);
        expect(chunks.at(-1)?.choices[0]?.finish_reason).toBe("stop");
        expect(finished).toBe(true);
        expect(found).toEqual(
          shape.usage === "none" ? null : { promptTokens: 10, cachedTokens: 0, cacheWriteTokens: 0, completionTokens: 5 },
        );
      }),
      { numRuns: 300 },
    );
  });

  test("a usage is discarded when text follows, and stays when a comment or an empty chunk follows", () => {
    const counted = event(chunk([delta({ content: "a" })], { usage: usage(10, 1) }));
    const finish = event(chunk([delta({}, { finishReason: "stop" })]));
    const more = event(chunk([delta({ content: "b" })]));
    for (const cut of [false, true]) {
      const told = (...events: string[]) =>
        run(Buffer.from(events.join("")), cut ? Array.from(Buffer.from(events.join("")).keys()) : []).usage?.completionTokens;
      expect(told(counted, more, finish)).toBeUndefined();
      expect(told(counted, ": ping\n\n", finish)).toBe(1);
      expect(told(counted, event(chunk([])), finish)).toBe(1);
      expect(told(counted, finish, more)).toBe(1);
      // The answer's text and its finish_reason in one chunk, after a usage.
      expect(told(counted, event(chunk([delta({ content: "b" }, { finishReason: "stop" })])))).toBeUndefined();
    }
  });

  test("counts what was delivered: text of every choice, refusals, reasoning and tool calls", async () => {
    const meter = new ChatMeter({ includeUsage: false });
    const call = toolCall("hello", {});
    for (const each of [
      chunk([delta({ role: "assistant", content: "hello" }), delta({ content: "hello" }, { index: 1 })]),
      chunk([delta({ content: " world" })]),
      chunk([delta({ reasoning_content: "hello" })]),
      chunk([delta({ refusal: "hello" })]),
      chunk([delta({ tool_calls: [{ index: 0, function: { name: call.function.name, arguments: "" } }] })]),
      chunk([delta({ tool_calls: [{ index: 0, function: { arguments: "hello" } }] })]),
    ]) {
      meter.push(Buffer.from(event(each)));
    }
    // "hello world" is two tokens, also when it arrives in two pieces.
    expect(await meter.deliveredTokens()).toBe(2 + 1 + 1 + 1 + 1 + 1);
  });

  test("counts the input of a custom tool, and keeps it back when it exceeds the ceiling", async () => {
    const call = (custom: object) => event(chunk([delta({ tool_calls: [{ index: 0, type: "custom", custom }] })]));
    const meter = new ChatMeter({ includeUsage: false });
    meter.push(Buffer.from(call({ name: "hello", input: "" }) + call({ input: "hello" }) + call({ input: " world" })));
    expect(await meter.deliveredTokens()).toBe(1 + 2);
    meter.allow(100);
    expect(meter.push(Buffer.from(call({ input: "x".repeat(100) })))).toBeNull();
    expect(meter.isFull).toBe(true);
  });

  test("counts reasoning once when a chunk has it under two names, and counts the texts in a list of parts", async () => {
    const meter = new ChatMeter({ includeUsage: false });
    const parts = [
      { type: "thinking", thinking: [{ type: "text", text: "hello" }] },
      { type: "text", text: "hello world" },
    ];
    for (const each of [
      delta({ reasoning: "hello", reasoning_content: "hello" }),
      delta({ reasoning_content: " world" }),
      delta({ content: parts }),
    ])
      meter.push(Buffer.from(event(chunk([each]))));
    expect(await meter.deliveredTokens()).toBe(2 + (await countTextTokens("hellohello world")));
  });

  test("text on the finish chunk counts when the stream is complete, and not before", async () => {
    const meter = new ChatMeter({ includeUsage: false });
    meter.push(
      Buffer.from(event(chunk([delta({ content: "hello" })])) + event(chunk([delta({ content: " world" }, { finishReason: "stop" })]))),
    );
    expect(await meter.deliveredTokens()).toBe(1);
    expect(await meter.completedTokens()).toBe(2);
  });
});

describe("a chat stream that was cut short", () => {
  test("ends with a chunk of the gateway's when it is cut before its first chunk", () => {
    const meter = new ChatMeter({ includeUsage: false, model: "gpt-4o-mini" });
    meter.allow(0);
    expect(meter.push(Buffer.from(event(chunk([delta({ content: "hello" })]))))).toBeNull();
    const [last] = dataOf(meter.cutShort(used, QUOTA).toString());
    expect(last).toMatchObject({ object: "chat.completion.chunk", model: "gpt-4o-mini", choices: [{ index: 0, finish_reason: "length" }] });
  });

  test("keeps the finish reasons of choices that have ended", () => {
    const meter = new ChatMeter({ includeUsage: false });
    meter.allow(100);
    meter.push(Buffer.from(event(chunk([delta({ content: "hello" })])) + event(chunk([delta({}, { finishReason: "stop" })]))));
    meter.push(Buffer.from(event(chunk([delta({ content: "x".repeat(200) })]))));
    expect(meter.isFull).toBe(true);
    expect(dataOf(meter.cutShort(used, QUOTA).toString()).map(({ choices }) => choices)).toMatchObject([[{ finish_reason: "stop" }]]);
  });

  test("is a complete answer without [DONE] only when each choice has ended", () => {
    const meter = new ChatMeter({ includeUsage: false, choices: 2 });
    const end = (index: number) => Buffer.from(event(chunk([delta({}, { index, finishReason: "stop" })])));
    meter.push(Buffer.from(event(chunk([delta({ content: "hello" }, { index: 0 }), delta({ content: "hel" }, { index: 1 })]))));
    meter.push(end(0));
    expect(meter.isComplete()).toBe(false);
    meter.push(end(1));
    expect(meter.isComplete()).toBe(true);
  });
});
