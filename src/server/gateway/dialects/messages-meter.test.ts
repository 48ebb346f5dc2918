import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { runCut } from "#testing/cut-stream.ts";
import { anyMessagesStream } from "#testing/dialects.ts";
import { messageEvents, namedEvent } from "#testing/upstream-answers.ts";
import { MessagesMeter } from "./messages-meter.ts";

const QUOTA = '{"credits_used":5}';
const STOP_WITH_QUOTA = `event: message_stop\ndata: {"type":"message_stop","quota":${QUOTA}}\n\n`;

const run = (stream: Uint8Array, cuts: readonly number[]) => runCut(new MessagesMeter(), stream, cuts, QUOTA);

describe("MessagesMeter", () => {
  test("events are passed on unchanged, quota is a member of the last, and no event is added", () => {
    fc.assert(
      fc.property(anyMessagesStream, ({ bytes, failure, stop }) => {
        fc.pre(!failure && stop);
        const { client, usage, promptUsage, finished } = run(bytes, []);
        const before = bytes.toString("utf8").replaceAll(/event: message_stop[\r\n]+data: \{"type":"message_stop"\}[\r\n]+$/g, "");
        expect(client).toBe(before + STOP_WITH_QUOTA);
        expect(finished).toBe(true);
        expect(usage).toEqual({ promptTokens: 10, cachedTokens: 2, cacheWriteTokens: 1, longCacheWriteTokens: 0, completionTokens: 5 });
        expect(promptUsage).toEqual({ promptTokens: 10, cachedTokens: 2, cacheWriteTokens: 1, longCacheWriteTokens: 0 });
      }),
    );
  });

  test("a stream with a stop_reason and without message_stop is complete, and gets a message_stop", () => {
    const { client, finished, done } = run(Buffer.from(messageEvents(["a"]).slice(0, -1).map(namedEvent).join("")), []);
    expect([finished, done]).toEqual([true, false]);
    expect(client.endsWith(STOP_WITH_QUOTA)).toBe(true);
  });

  test("the last counts are the usage; a usage is discarded when text follows", () => {
    const start = (usage: object) => namedEvent({ type: "message_start", message: { usage } });
    const delta = (usage: object, stop_reason: string | null = null) =>
      namedEvent({ type: "message_delta", delta: { stop_reason }, usage });
    const more = namedEvent({ type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "a" } });
    const told = (...events: string[]) => run(Buffer.from(events.join("")), []);
    // A server that reports the prompt's usage at the end.
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

  test("a nested count is not replaced by zero, and the output's count is", () => {
    const start = {
      input_tokens: 10,
      output_tokens: 1,
      cache_creation_input_tokens: 20,
      cache_creation: { ephemeral_1h_input_tokens: 20 },
    };
    const last = {
      output_tokens: 0,
      cache_creation_input_tokens: 0,
      cache_creation: { ephemeral_5m_input_tokens: 0, ephemeral_1h_input_tokens: 0 },
    };
    const events = [
      { type: "message_start", message: { usage: start } },
      { type: "message_delta", delta: { stop_reason: "end_turn" }, usage: last },
    ];
    expect(run(Buffer.from(events.map(namedEvent).join("")), []).usage).toMatchObject({ longCacheWriteTokens: 20, completionTokens: 0 });
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
    // "hello world" is two tokens, also when it arrives in two pieces.
    expect(await meter.deliveredTokens()).toBe(1 + 2 + 1 + 1);
  });
});
