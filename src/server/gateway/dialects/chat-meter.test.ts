import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { runCut } from "#testing/cut-stream.ts";
import { chunk, delta, event, toolCall, usage } from "#testing/fake-upstream.ts";
import { ChatMeter, readUsage } from "./chat-meter.ts";

const QUOTA = '{"credits_used":5}';

const run = (stream: Uint8Array, cuts: readonly number[], options: { includeUsage: boolean } = { includeUsage: false }) =>
  runCut(new ChatMeter(options), stream, cuts, QUOTA);

const text = fc.oneof(
  fc.string({ unit: "binary", maxLength: 12 }),
  fc.constantFrom("🦊", "é", "[DONE]", '"finish_reason":"stop"', "\n\n", "data: x", "\r\n\r\n"),
);
const spaced = (object: object) => JSON.stringify(object).replace(/(?<!\\)":/g, '" : ');
const anyStream = fc
  .record({
    texts: fc.array(text, { maxLength: 5 }),
    finishText: fc.option(text, { nil: undefined }),
    usage: fc.constantFrom("own chunk", "finish chunk", "every chunk", "first chunk", "none"),
    done: fc.boolean(),
    comments: fc.boolean(),
    newline: fc.constantFrom("\n", "\r\n"),
    write: fc.constantFrom(JSON.stringify, spaced),
    failure: fc.boolean(),
    choices: fc.integer({ min: 1, max: 3 }),
    lastNewline: fc.boolean(),
  })
  .map((shape) => {
    const used = { usage: usage(10, 5) };
    const inAll = shape.usage === "every chunk" ? used : {};
    const objects: object[] = shape.texts.map((content, index) =>
      chunk([delta({ content }, { index: index % shape.choices })], shape.usage === "first chunk" && index === 0 ? used : inAll),
    );
    if (shape.failure) objects.push({ error: { message: "broke", code: 500 } });
    for (let index = 0; index < shape.choices; index++) {
      objects.push(
        chunk(
          [delta(shape.finishText === undefined ? {} : { content: shape.finishText }, { index, finishReason: "stop" })],
          shape.usage === "finish chunk" ? used : inAll,
        ),
      );
    }
    if (shape.usage === "own chunk" || shape.usage === "every chunk") objects.push(chunk([], used));
    const parts = objects.flatMap((object) => [...(shape.comments ? [": ping\n\n"] : []), `data: ${shape.write(object)}\n\n`]);
    if (shape.done) parts.push("data: [DONE]\n\n");
    let stream = parts.join("");
    if (!shape.lastNewline) stream = stream.trimEnd();
    return { shape, bytes: Buffer.from(shape.newline === "\n" ? stream : stream.replaceAll("\n", "\r\n")) };
  });

describe("ChatMeter", () => {
  test("any split of the byte stream gives the client the same bytes, and the same usage and end", () => {
    fc.assert(
      fc.property(anyStream, fc.array(fc.nat(), { maxLength: 12 }), fc.boolean(), ({ bytes }, cuts, includeUsage) => {
        expect(run(bytes, cuts, { includeUsage })).toEqual(run(bytes, [], { includeUsage }));
      }),
      { numRuns: 400 },
    );
  });

  test("every text reaches the client, quota stands on the last finish chunk, and [DONE] is last", () => {
    fc.assert(
      fc.property(anyStream, fc.array(fc.nat(), { maxLength: 12 }), ({ shape, bytes }, cuts) => {
        fc.pre(!shape.failure && shape.usage !== "first chunk");
        const { client, usage: found, finished } = run(bytes, cuts);
        const data = client
          .split(/\r?\n\r?\n/)
          .filter((each) => each.startsWith("data:"))
          .map((each) => each.slice(5).trim());
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

  test("a count that text follows is not the last one; a comment or an empty chunk after it changes nothing", () => {
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
    }
  });

  test("an error event ends the stream and goes no further", () => {
    const bytes = Buffer.from(
      [event(chunk([delta({ content: "a" })])), event({ error: { message: "secret", code: 429 } }), event("[DONE]")].join(""),
    );
    const { client, failure } = run(bytes, []);
    expect(client).toBe(event(chunk([delta({ content: "a" })])));
    expect(failure).toEqual({ message: "secret", status: 429 });
  });

  test("half an event at the end is not passed on", () => {
    const whole = event(chunk([delta({ content: "a" })]));
    const meter = new ChatMeter({ includeUsage: false });
    expect(meter.push(Buffer.from(whole + whole.slice(0, 30)))?.toString()).toBe(whole);
    expect(meter.end()).toBeNull();
    expect([meter.finished, meter.done]).toEqual([false, false]);
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
    // "hello world" is two tokens also when its halves came apart.
    expect(await meter.deliveredTokens()).toBe(2 + 1 + 1 + 1 + 1 + 1);
  });

  test("counts what a model writes for a tool of the app's own form, and keeps it back where it is not covered", async () => {
    const call = (custom: object) => event(chunk([delta({ tool_calls: [{ index: 0, type: "custom", custom }] })]));
    const meter = new ChatMeter({ includeUsage: false });
    meter.push(Buffer.from(call({ name: "hello", input: "" }) + call({ input: "hello" }) + call({ input: " world" })));
    expect(await meter.deliveredTokens()).toBe(1 + 2);
    meter.allow(100);
    expect(meter.push(Buffer.from(call({ input: "x".repeat(100) })))).toBeNull();
    expect(meter.isFull).toBe(true);
  });

  test("text on the finish chunk counts once the stream is complete, not before", async () => {
    const meter = new ChatMeter({ includeUsage: false });
    meter.push(
      Buffer.from(event(chunk([delta({ content: "hello" })])) + event(chunk([delta({ content: " world" }, { finishReason: "stop" })]))),
    );
    expect(await meter.deliveredTokens()).toBe(1);
    expect(await meter.completedTokens()).toBe(2);
  });

  test("an event of many megabytes takes work in proportion to its size", () => {
    const meter = new ChatMeter({ includeUsage: false });
    const bytes = Buffer.from(event(chunk([delta({ content: "x".repeat(8 * 1024 * 1024) })])));
    const { concat } = Buffer;
    let copied = 0;
    let through = 0;
    // Not a spy: that would keep every copy it has seen.
    Buffer.concat = (...args) => {
      const made = concat(...args);
      copied += made.length;
      return made;
    };
    try {
      for (let at = 0; at < bytes.length; at += 1024) through += meter.push(bytes.subarray(at, at + 1024))?.length ?? 0;
    } finally {
      Buffer.concat = concat;
    }
    expect(through).toBe(bytes.length);
    // Each byte three times and a little: beside the end of the part before it, into the whole event, and for counting
    // its text. Putting the parts together each time would copy some four thousand times as much.
    expect(copied).toBeLessThan(4 * bytes.length);
  });

  test("counts a long answer without keeping its bytes apart", async () => {
    const meter = new ChatMeter({ includeUsage: false });
    for (let index = 0; index < 2_000; index++) meter.push(Buffer.from(event(chunk([delta({ content: " word" })]))));
    expect(await meter.deliveredTokens()).toBe(2_000);
  });

  test("a chunk of any JSON is passed on and breaks nothing", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.jsonValue(), { maxLength: 4 }), fc.array(fc.nat(), { maxLength: 4 }), async (values, cuts) => {
        const bytes = Buffer.from(values.map((value) => `data: ${JSON.stringify(value)}\n\n`).join(""));
        expect(run(bytes, cuts)).toEqual(run(bytes, []));
        const meter = new ChatMeter({ includeUsage: false });
        meter.push(bytes);
        expect(await meter.deliveredTokens()).toBeGreaterThanOrEqual(0);
      }),
    );
  });
});

describe("readUsage", () => {
  test.each([
    [undefined, null],
    [null, null],
    ["10", null],
    [{}, null],
    [{ completion_tokens: 5 }, null],
    [{ prompt_tokens: -1 }, null],
    [{ prompt_tokens: 1.5 }, null],
    [{ prompt_tokens: "10", completion_tokens: 5 }, null],
    [{ prompt_tokens: 2 ** 31 }, null],
    // Half a count is none.
    [{ prompt_tokens: 10 }, null],
    [{ prompt_tokens: 10, completion_tokens: "5" }, null],
    // Embeddings have no completion.
    [{ prompt_tokens: 10, total_tokens: 10 }, [10, 0, 0, 0]],
    [{ prompt_tokens: 10, completion_tokens: 5 }, [10, 0, 0, 5]],
    [{ prompt_tokens: 10, completion_tokens: -5 }, null],
    [{ prompt_tokens: 10, completion_tokens: 5, prompt_tokens_details: null }, [10, 0, 0, 5]],
    [{ prompt_tokens: 10, completion_tokens: 5, prompt_tokens_details: { cached_tokens: 4, cache_write_tokens: 2 } }, [10, 4, 2, 5]],
    [{ prompt_tokens: 10, completion_tokens: 5, prompt_tokens_details: { cached_tokens: "4" } }, [10, 0, 0, 5]],
    // Hidden reasoning that only the total has.
    [{ prompt_tokens: 10, completion_tokens: 5, total_tokens: 115 }, [10, 0, 0, 105]],
    [{ prompt_tokens: 10, completion_tokens: 5, total_tokens: 3 }, [10, 0, 0, 5]],
  ])("of %j is %j", (given, expected) => {
    const found = readUsage(given);
    expect(found && [found.promptTokens, found.cachedTokens, found.cacheWriteTokens, found.completionTokens]).toEqual(expected);
  });
});
