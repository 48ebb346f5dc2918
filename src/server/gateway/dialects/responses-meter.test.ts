import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { runCut } from "#testing/cut-stream.ts";
import { namedEvent, responseEvents, responseObject, responseUsage } from "#testing/fake-upstream.ts";
import { AppError } from "../../platform/errors.ts";
import { ResponsesMeter, readResponseUsage } from "./responses-meter.ts";

const QUOTA = '{"credits_used":5}';

const run = (stream: Uint8Array, cuts: readonly number[]) => runCut(new ResponsesMeter(), stream, cuts, QUOTA);

const text = fc.oneof(
  fc.string({ unit: "binary", maxLength: 12 }),
  fc.constantFrom("🦊", "é", '"type":"response.completed"', "\n\n", "[DONE]", "event: error", "\r\n\r\n"),
);
const anyStream = fc
  .record({
    texts: fc.array(text, { maxLength: 5 }),
    newline: fc.constantFrom("\n", "\r\n"),
    status: fc.constantFrom("completed", "incomplete", "failed"),
    done: fc.boolean(),
    comments: fc.boolean(),
    spaced: fc.boolean(),
  })
  .map(({ texts, newline, status, done, comments, spaced }) => {
    const objects = responseEvents(texts, { status, usage: responseUsage(10, 5, { cached: 4, written: 2 }) });
    const write = (each: object) => (spaced ? namedEvent(each).replace(/(?<!\\)":/g, '" : ') : namedEvent(each));
    const whole = objects.map((each) => (comments ? ": ping\n\n" : "") + write(each));
    const stream = whole.join("") + (done ? "data: [DONE]\n\n" : "");
    const before = whole.slice(0, -1).join("") + (comments ? ": ping\n\n" : "");
    const sent = (all: string) => (newline === "\n" ? all : all.replaceAll("\n", "\r\n"));
    return { status, before: sent(before), bytes: Buffer.from(sent(stream)) };
  });

describe("ResponsesMeter", () => {
  test("any split of the byte stream gives the client the same bytes, and the same usage and end", () => {
    fc.assert(
      fc.property(anyStream, fc.array(fc.nat(), { maxLength: 12 }), ({ bytes }, cuts) => {
        expect(run(bytes, cuts)).toEqual(run(bytes, []));
      }),
      { numRuns: 300 },
    );
  });

  test("every event goes through as it came; the last is held back, and has quota on it and on its response", () => {
    fc.assert(
      fc.property(anyStream, ({ bytes, before, status }) => {
        fc.pre(status !== "failed");
        const { client, usage, finished, done } = run(bytes, []);
        expect(client.startsWith(before)).toBe(true);
        const last = client.slice(before.length);
        expect(last.startsWith(`event: response.${status}\ndata: {`)).toBe(true);
        const quota = { credits_used: 5 };
        expect(JSON.parse(last.slice(last.indexOf("data: ") + 6))).toMatchObject({ quota, response: { status, quota } });
        expect(last.endsWith("data: [DONE]\n\n")).toBe(false);
        expect([finished, done]).toEqual([true, true]);
        expect(usage).toEqual({ promptTokens: 10, cachedTokens: 4, cacheWriteTokens: 2, completionTokens: 5 });
      }),
    );
  });

  test("what the last event says besides stays as it came, to the digit", () => {
    const data =
      '{ "type":"response.completed" , "big":9223372036854775807,"response" : { "x":1.0e0, "usage":{"input_tokens":1,"output_tokens":2} } }';
    const { client, usage } = run(Buffer.from(`data: ${data}\n\n`), []);
    expect(client).toBe(`event: response.completed\ndata: ${data.replace("} } }", `} ,"quota":${QUOTA}} ,"quota":${QUOTA}}`)}\n\n`);
    expect(usage).toMatchObject({ promptTokens: 1, completionTokens: 2 });
  });

  test("a failure ends the stream and goes no further, however it is written", () => {
    const failed = (error: object) => ({ type: "response.failed", response: responseObject({ status: "failed", rest: { error } }) });
    for (const [event, status] of [
      [namedEvent(failed({ code: "server_error", message: "secret" })), null],
      [namedEvent(failed({ code: "rate_limit_exceeded", message: "secret" })), 429],
      [namedEvent({ type: "error", code: "server_error", message: "secret", param: null, sequence_number: 4 }), null],
      [namedEvent({ type: "error", code: "rate_limit_exceeded", message: "secret", param: null }), 429],
      ['event: error\ndata: {"error":{"message":"secret","code":429}}\n\n', 429],
      ['data: {"error":{"message":"secret"}}\n\n', null],
    ] as const) {
      const first = responseEvents(["a"]).slice(0, 5).map(namedEvent).join("");
      const { client, failure } = run(Buffer.from(first + event), []);
      expect(client).toBe(first);
      expect(failure).toEqual({ message: "secret", status });
    }
  });

  test("[DONE] alone is no end", () => {
    const first = responseEvents(["a"]).slice(0, 5).map(namedEvent).join("");
    const { client, finished, done } = run(Buffer.from(`${first}data: [DONE]\n\n`), []);
    expect([client, finished, done]).toEqual([first, false, false]);
  });

  test("its own failure goes on counting events", () => {
    const meter = new ResponsesMeter();
    const told = () => JSON.parse(meter.failing(new AppError("upstream_error")).toString().split("data: ")[1] as string);
    expect(told()).toMatchObject({ type: "error", code: "upstream_error", sequence_number: 0, error: { code: "upstream_error" } });
    for (const each of responseEvents(["a"]).slice(0, 5)) meter.push(Buffer.from(namedEvent(each)));
    expect(told().sequence_number).toBe(5);
  });

  test("counts what was delivered: text, refusals, reasoning, and the name and arguments of a call", async () => {
    const meter = new ResponsesMeter();
    const place = { item_id: "i", output_index: 0, content_index: 0 };
    for (const each of [
      { type: "response.output_text.delta", ...place, delta: "hello" },
      { type: "response.output_text.delta", ...place, delta: " world" },
      { type: "response.output_text.done", ...place, text: "hello world" },
      { type: "response.refusal.delta", ...place, content_index: 1, delta: "hello" },
      { type: "response.reasoning_text.delta", ...place, output_index: 1, delta: "hello" },
      { type: "response.output_item.added", output_index: 2, item: { type: "function_call", name: "hello", arguments: "" } },
      { type: "response.function_call_arguments.delta", item_id: "f", output_index: 2, delta: "hello" },
    ])
      meter.push(Buffer.from(namedEvent(each)));
    // "hello world" is two tokens also when its halves came apart.
    expect(await meter.deliveredTokens()).toBe(2 + 1 + 1 + 1 + 1);
  });

  test("an event of any JSON is passed on and breaks nothing", async () => {
    const types = ["response.created", "response.completed", "response.failed", "response.output_text.delta", "response.output_item.added"];
    const shape = fc.record({ type: fc.constantFrom(...types), response: fc.jsonValue(), item: fc.jsonValue(), delta: fc.jsonValue() });
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.oneof(fc.jsonValue(), shape), { maxLength: 4 }),
        fc.array(fc.nat(), { maxLength: 4 }),
        async (values, cuts) => {
          const bytes = Buffer.from(values.map((value) => `data: ${JSON.stringify(value)}\n\n`).join(""));
          expect(run(bytes, cuts)).toEqual(run(bytes, []));
          const meter = new ResponsesMeter();
          meter.push(bytes);
          expect(await meter.deliveredTokens()).toBeGreaterThanOrEqual(0);
        },
      ),
    );
  });
});

test.each([
  [undefined, null],
  [null, null],
  [{}, null],
  [{ input_tokens: 10 }, null],
  [{ input_tokens: 10, output_tokens: 5 }, [10, 0, 0, 5]],
  [responseUsage(10, 5, { cached: 4, written: 2 }), [10, 4, 2, 5]],
  [{ input_tokens: 10, output_tokens: 5, total_tokens: 115 }, [10, 0, 0, 105]],
])("the usage of a response, %j, is %j", (given, expected) => {
  const found = readResponseUsage(given);
  expect(found && [found.promptTokens, found.cachedTokens, found.cacheWriteTokens, found.completionTokens]).toEqual(expected);
});
