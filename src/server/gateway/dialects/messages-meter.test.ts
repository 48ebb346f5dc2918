import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { runCut } from "#testing/cut-stream.ts";
import { messageEvents, messageUsage, namedEvent } from "#testing/fake-upstream.ts";
import { MessagesMeter, readMessagesUsage } from "./messages-meter.ts";

const QUOTA = '{"credits_used":5}';
const STOP_WITH_QUOTA = `event: message_stop\ndata: {"type":"message_stop","quota":${QUOTA}}\n\n`;

const run = (stream: Uint8Array, cuts: readonly number[]) => runCut(new MessagesMeter(), stream, cuts, QUOTA);

const text = fc.oneof(
  fc.string({ unit: "binary", maxLength: 12 }),
  fc.constantFrom("🦊", "é", '"type":"message_stop"', "\n\n", "event: error", "\r\n\r\n"),
);
const anyStream = fc
  .record({
    texts: fc.array(text, { maxLength: 5 }),
    newline: fc.constantFrom("\n", "\r\n"),
    stop: fc.boolean(),
    failure: fc.boolean(),
    comments: fc.boolean(),
  })
  .map(({ texts, newline, stop, failure, comments }) => {
    const objects = messageEvents(texts, { usage: messageUsage(7, 5, { read: 2, written: 1 }) });
    if (!stop) objects.pop();
    if (failure) objects.splice(3, 0, { type: "error", error: { type: "overloaded_error", message: "secret" } });
    const stream = objects.map((each) => (comments ? ": ping\n\n" : "") + namedEvent(each)).join("");
    return { texts, failure, stop, bytes: Buffer.from(newline === "\n" ? stream : stream.replaceAll("\n", "\r\n")) };
  });

describe("MessagesMeter", () => {
  test("any split of the byte stream gives the client the same bytes, and the same usage and end", () => {
    fc.assert(
      fc.property(anyStream, fc.array(fc.nat(), { maxLength: 12 }), ({ bytes }, cuts) => {
        expect(run(bytes, cuts)).toEqual(run(bytes, []));
      }),
      { numRuns: 300 },
    );
  });

  test("every event goes through as it came, quota is a member of the last, and no event is added", () => {
    fc.assert(
      fc.property(anyStream, ({ bytes, failure, stop }) => {
        fc.pre(!failure && stop);
        const { client, usage, promptUsage, finished } = run(bytes, []);
        const before = bytes.toString("utf8").replaceAll(/event: message_stop\r?\ndata: \{"type":"message_stop"\}\r?\n\r?\n$/g, "");
        expect(client).toBe(before + STOP_WITH_QUOTA);
        expect(finished).toBe(true);
        expect(usage).toEqual({ promptTokens: 10, cachedTokens: 2, cacheWriteTokens: 1, longCacheWriteTokens: 0, completionTokens: 5 });
        expect(promptUsage).toEqual({ promptTokens: 10, cachedTokens: 2, cacheWriteTokens: 1, longCacheWriteTokens: 0 });
      }),
    );
  });

  test("a stream that has its stop_reason and no message_stop is complete, and gets one", () => {
    const { client, finished, done } = run(Buffer.from(messageEvents(["a"]).slice(0, -1).map(namedEvent).join("")), []);
    expect([finished, done]).toEqual([true, false]);
    expect(client.endsWith(STOP_WITH_QUOTA)).toBe(true);
  });

  test("an error event ends the stream and goes no further, however it is written", () => {
    for (const [event, status] of [
      [namedEvent({ type: "error", error: { type: "overloaded_error", message: "secret" } }), null],
      [namedEvent({ type: "error", error: { type: "rate_limit_error", message: "secret" } }), 429],
      ['event: error\ndata: {"message":"secret"}\n\n', null],
      ['data: {"error":{"message":"secret"}}\n\n', null],
    ] as const) {
      const first = messageEvents(["a"]).slice(0, 4).map(namedEvent).join("");
      const { client, failure } = run(Buffer.from(first + event), []);
      expect(client).toBe(first);
      expect(failure?.status).toBe(status);
    }
  });

  test("counts that come late or only at the end are the ones that hold; text after one makes it a count so far", () => {
    const start = (usage: object) => namedEvent({ type: "message_start", message: { usage } });
    const delta = (usage: object, stop_reason: string | null = null) =>
      namedEvent({ type: "message_delta", delta: { stop_reason }, usage });
    const more = namedEvent({ type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "a" } });
    const told = (...events: string[]) => run(Buffer.from(events.join("")), []);
    // A server that counts the prompt at the end.
    const late = told(start({ input_tokens: 0, output_tokens: 0 }), more, delta({ input_tokens: 9, output_tokens: 4 }, "end_turn"));
    expect([late.usage?.promptTokens, late.usage?.completionTokens, late.promptUsage]).toEqual([9, 4, null]);
    const guessed = told(start({ input_tokens: 9, output_tokens: 1 }), more, delta({ input_tokens: 7, output_tokens: 4 }, "end_turn"));
    expect([guessed.usage?.promptTokens, guessed.usage?.completionTokens]).toEqual([7, 4]);
    const untold = told(start({ input_tokens: 9, output_tokens: 1 }), more, delta({ input_tokens: 0, output_tokens: 4 }, "end_turn"));
    expect(untold.usage?.promptTokens).toBe(9);
    expect(told(start({ input_tokens: 9, output_tokens: 1 }), delta({ output_tokens: 2 }), more).usage).toBeNull();
    expect(told(start({ input_tokens: 9, output_tokens: 1 }), delta({ output_tokens: 2 }, "end_turn")).usage?.completionTokens).toBe(2);
    expect(told(start({ input_tokens: 9, output_tokens: 1 }), more).usage).toBeNull();
    expect(told(start({ input_tokens: 9 }), delta({}, "end_turn")).usage).toBeNull();
  });

  test("counts what was delivered: text, thinking, and the name and input of a tool", async () => {
    const meter = new MessagesMeter();
    for (const each of [
      { type: "content_block_start", index: 0, content_block: { type: "thinking", thinking: "" } },
      { type: "content_block_delta", index: 0, delta: { type: "thinking_delta", thinking: "hello" } },
      { type: "content_block_delta", index: 0, delta: { type: "signature_delta", signature: "EqQBCgIYAhIM1gbcDa9GJwZA2b3h" } },
      { type: "content_block_start", index: 1, content_block: { type: "text", text: "" } },
      { type: "content_block_delta", index: 1, delta: { type: "text_delta", text: "hello" } },
      { type: "content_block_delta", index: 1, delta: { type: "text_delta", text: " world" } },
      { type: "content_block_start", index: 2, content_block: { type: "tool_use", id: "toolu_1", name: "hello", input: {} } },
      { type: "content_block_delta", index: 2, delta: { type: "input_json_delta", partial_json: "hello" } },
    ])
      meter.push(Buffer.from(namedEvent(each)));
    // "hello world" is two tokens also when its halves came apart.
    expect(await meter.deliveredTokens()).toBe(1 + 2 + 1 + 1);
  });

  test("an event of any JSON is passed on and breaks nothing", async () => {
    const types = ["message_start", "message_delta", "content_block_start", "content_block_delta", "other"];
    const shape = fc.record({ type: fc.constantFrom(...types), message: fc.jsonValue(), usage: fc.jsonValue(), delta: fc.jsonValue() });
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.oneof(fc.jsonValue(), shape), { maxLength: 4 }),
        fc.array(fc.nat(), { maxLength: 4 }),
        async (values, cuts) => {
          const bytes = Buffer.from(values.map((value) => `data: ${JSON.stringify(value)}\n\n`).join(""));
          expect(run(bytes, cuts)).toEqual(run(bytes, []));
          const meter = new MessagesMeter();
          meter.push(bytes);
          expect(await meter.deliveredTokens()).toBeGreaterThanOrEqual(0);
        },
      ),
    );
  });
});

describe("readMessagesUsage", () => {
  test.each([
    [undefined, null],
    [{}, null],
    [{ input_tokens: 10 }, null],
    [{ output_tokens: 10 }, null],
    [{ input_tokens: -1, output_tokens: 5 }, null],
    [{ input_tokens: 10, output_tokens: 5 }, [10, 0, 0, 0, 5]],
    [{ input_tokens: 10, output_tokens: 5, cache_read_input_tokens: null, cache_creation: null }, [10, 0, 0, 0, 5]],
    // What was read and written is beside the input tokens, not among them.
    [messageUsage(10, 5, { read: 100, written: 20, long: 3 }), [133, 100, 20, 3, 5]],
    // A part that is larger than the whole.
    [{ ...messageUsage(10, 5, { written: 20 }), cache_creation: { ephemeral_1h_input_tokens: 30 } }, [30, 0, 0, 20, 5]],
  ])("of %j is %j", (given, expected) => {
    const found = readMessagesUsage(given);
    expect(
      found && [found.promptTokens, found.cachedTokens, found.cacheWriteTokens, found.longCacheWriteTokens, found.completionTokens],
    ).toEqual(expected);
  });
});
