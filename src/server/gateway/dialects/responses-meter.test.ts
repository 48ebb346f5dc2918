import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { runCut } from "#testing/cut-stream.ts";
import { anyResponsesStream, dataOf } from "#testing/dialects.ts";
import { namedEvent, responseEvents, toolCall } from "#testing/upstream-answers.ts";
import { AppError } from "../../platform/errors.ts";
import { ResponsesMeter } from "./responses-meter.ts";

const QUOTA = '{"credits_used":5}';
const used = { promptTokens: 10, cachedTokens: 0, cacheWriteTokens: 0, completionTokens: 7 };

const run = (stream: Uint8Array, cuts: readonly number[]) => runCut(new ResponsesMeter(), stream, cuts, QUOTA);

describe("ResponsesMeter", () => {
  test("events are passed on unchanged; the last is kept back, and has quota on it and on its response", () => {
    fc.assert(
      fc.property(anyResponsesStream, ({ bytes, before, status }) => {
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

  test("the other members of the last event keep their text, digit by digit", () => {
    const data =
      '{ "type":"response.completed" , "big":9223372036854775807,"response" : { "x":1.0e0, "usage":{"input_tokens":1,"output_tokens":2} } }';
    const { client, usage } = run(Buffer.from(`data: ${data}\n\n`), []);
    expect(client).toBe(`event: response.completed\ndata: ${data.replace("} } }", `} ,"quota":${QUOTA}} ,"quota":${QUOTA}}`)}\n\n`);
    expect(usage).toMatchObject({ promptTokens: 1, completionTokens: 2 });
  });

  test("[DONE] alone does not complete an answer", () => {
    const first = responseEvents(["a"]).slice(0, 5).map(namedEvent).join("");
    const { client, finished, done } = run(Buffer.from(`${first}data: [DONE]\n\n`), []);
    expect([client, finished, done]).toEqual([first, false, false]);
  });

  test("the gateway's error event continues the sequence numbers", () => {
    const meter = new ResponsesMeter();
    const told = () => JSON.parse(meter.errorEvent(new AppError("upstream_error")).toString().split("data: ")[1] as string);
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
    // "hello world" is two tokens, also when it arrives in two pieces.
    expect(await meter.deliveredTokens()).toBe(2 + 1 + 1 + 1 + 1);
  });
});

test("a response that is cut short has the texts and arguments so far, and unchanged the items that have ended", () => {
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
