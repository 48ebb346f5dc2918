import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  chunk,
  completionChunks,
  delta,
  event,
  messageEvents,
  namedEvent,
  responseEvents,
  toolCall,
  usage,
} from "#testing/fake-upstream.ts";
import { ChatMeter } from "./chat-meter.ts";
import type { EventMeter } from "./event-meter.ts";
import { eventData, parseData } from "./event-meter.ts";
import { MessagesMeter } from "./messages-meter.ts";
import { ResponsesMeter } from "./responses-meter.ts";

const used = { promptTokens: 10, cachedTokens: 0, cacheWriteTokens: 0, completionTokens: 7 };
const QUOTA = '{"credits_used":3}';

const apis: Record<
  string,
  { meter: () => EventMeter; stream: (texts: string[]) => string; textOf: (data: Record<string, unknown>) => string }
> = {
  "chat completions": {
    meter: () => new ChatMeter({ includeUsage: true }),
    stream: (texts) => [...completionChunks(texts, { usage: usage(10, 5) }).map(event), event("[DONE]")].join(""),
    textOf: ({ choices }) => ((choices ?? []) as { delta?: { content?: string } }[]).map((each) => each.delta?.content ?? "").join(""),
  },
  messages: {
    meter: () => new MessagesMeter(),
    stream: (texts) => messageEvents(texts).map(namedEvent).join(""),
    textOf: (data) => (data.delta as { text?: string } | undefined)?.text ?? "",
  },
  responses: {
    meter: () => new ResponsesMeter(),
    stream: (texts) => responseEvents(texts).map(namedEvent).join(""),
    textOf: ({ type, delta }) => (type === "response.output_text.delta" ? String(delta) : ""),
  },
};

const dataOf = (stream: string): Record<string, unknown>[] =>
  stream.split(/\r?\n\r?\n/).flatMap((each) => {
    const data = eventData(each);
    const parsed = data === null ? null : parseData(data);
    return parsed === null ? [] : [parsed];
  });

const anyTexts = fc.array(fc.string({ unit: "grapheme", minLength: 1, maxLength: 30 }), { maxLength: 20 });

describe.each(Object.entries(apis))("a ceiling over a stream of %s", (_name, { meter: make, stream, textOf }) => {
  test("lets through whole events of no more text than it says, wherever the bytes are cut, and the rest when it is raised", () => {
    fc.assert(
      fc.property(anyTexts, fc.array(fc.nat(), { maxLength: 8 }), fc.nat({ max: 600 }), (texts, cuts, ceiling) => {
        const bytes = Buffer.from(stream(texts));
        const meter = make();
        meter.allow(ceiling);
        const places = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
        let client = "";
        let raised = false;
        for (const [index, place] of [...places, bytes.length].entries()) {
          client += meter.push(bytes.subarray(places[index - 1] ?? 0, place))?.toString() ?? "";
          if (!meter.isFull) continue;
          if (!raised) {
            // At that moment the next event would have been too much.
            const delivered = Buffer.byteLength(dataOf(client).map(textOf).join(""));
            expect(delivered).toBeLessThanOrEqual(ceiling);
            expect(meter.outputBound()).toBeLessThanOrEqual(ceiling);
            expect(texts.join("")).toContain(dataOf(client).map(textOf).join(""));
          }
          raised = true;
          client += meter.allow(Number.POSITIVE_INFINITY)?.toString() ?? "";
          expect(meter.isFull).toBe(false);
        }
        const free = make();
        expect(client).toBe(free.push(bytes)?.toString() ?? "");
        expect([meter.usage, meter.finished, meter.done]).toEqual([free.usage, free.finished, free.done]);
      }),
      { numRuns: 200 },
    );
  });

  test("bounds the tokens from above, and counting brings the bound closer", async () => {
    const texts = Array.from({ length: 200 }, (_, index) => ` word${index}`);
    const meter = make();
    meter.allow(5_000);
    meter.push(Buffer.from(stream(texts)));
    const counted = await meter.deliveredTokens();
    const before = meter.outputBound();
    expect(before).toBeGreaterThanOrEqual(Buffer.byteLength(texts.join("")));
    expect([meter.mayExceed(before), meter.mayExceed(before - 1)]).toEqual([false, true]);
    await meter.count(1);
    expect(meter.outputBound()).toBeGreaterThanOrEqual(counted);
    expect(meter.outputBound()).toBeLessThan(counted + 64);
  });

  test("ends what was cut short with everything that had begun, once, and with quota", () => {
    fc.assert(
      fc.property(anyTexts, fc.nat({ max: 300 }), (texts, ceiling) => {
        const meter = make();
        meter.allow(ceiling);
        const client = meter.push(Buffer.from(stream(texts)))?.toString() ?? "";
        fc.pre(meter.isFull);
        const end = meter.cutShort(used, QUOTA).toString();
        expect(end).toContain(`"quota":${QUOTA}`);
        const types = dataOf(client + end).map(({ type }) => type);
        for (const [begins, ends] of [
          ["message_start", "message_stop"],
          ["content_block_start", "content_block_stop"],
          ["response.created", "response.incomplete"],
          ["response.output_item.added", "response.output_item.done"],
          ["response.content_part.added", "response.content_part.done"],
        ])
          expect(types.filter((type) => type === ends)).toHaveLength(types.filter((type) => type === begins).length);
      }),
      { numRuns: 100 },
    );
  });
});

describe("a chat stream that was cut short", () => {
  test("before its first chunk has a chunk of its own", () => {
    const meter = new ChatMeter({ includeUsage: false, model: "gpt-4o-mini" });
    meter.allow(0);
    expect(meter.push(Buffer.from(event(chunk([delta({ content: "hello" })]))))).toBeNull();
    const [last] = dataOf(meter.cutShort(used, QUOTA).toString());
    expect(last).toMatchObject({ object: "chat.completion.chunk", model: "gpt-4o-mini", choices: [{ index: 0, finish_reason: "length" }] });
  });

  test("whose choices had all ended keeps their ends", () => {
    const meter = new ChatMeter({ includeUsage: false });
    meter.allow(100);
    meter.push(Buffer.from(event(chunk([delta({ content: "hello" })])) + event(chunk([delta({}, { finishReason: "stop" })]))));
    meter.push(Buffer.from(event(chunk([delta({ content: "x".repeat(200) })]))));
    expect(meter.isFull).toBe(true);
    expect(dataOf(meter.cutShort(used, QUOTA).toString()).map(({ choices }) => choices)).toMatchObject([[{ finish_reason: "stop" }]]);
  });
});

test("a response that was cut short has the texts and arguments so far, and the items that had ended as they were", () => {
  const meter = new ResponsesMeter();
  meter.allow(60);
  const call = { ...toolCall("f", {}), type: "function_call", id: "fc_1", call_id: "call_1", name: "f", arguments: "" };
  const events = [
    ...responseEvents(["Hello"]).slice(0, -1),
    { type: "response.output_item.added", output_index: 1, item: call },
    { type: "response.function_call_arguments.delta", item_id: "fc_1", output_index: 1, delta: '{"a":' },
    { type: "response.function_call_arguments.delta", item_id: "fc_1", output_index: 1, delta: "x".repeat(60) },
  ].map((each, sequence_number) => ({ ...each, sequence_number }));
  const client = meter.push(Buffer.from(events.map(namedEvent).join("")))?.toString() ?? "";
  const parts = dataOf(client + meter.cutShort(used, QUOTA).toString());
  expect(parts.map((each) => each.sequence_number)).toEqual(parts.map((_each, index) => index));
  expect(parts.slice(-2)).toMatchObject([
    { type: "response.output_item.done", output_index: 1, item: { arguments: '{"a":', status: "incomplete" } },
    {
      type: "response.incomplete",
      response: {
        output: [
          { status: "completed", content: [{ text: "Hello" }] },
          { type: "function_call", call_id: "call_1", arguments: '{"a":', status: "incomplete" },
        ],
      },
    },
  ]);
});
