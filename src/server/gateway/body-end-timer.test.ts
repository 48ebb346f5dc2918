import { PassThrough } from "node:stream";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { chunk, delta, event, usage } from "#testing/upstream-answers.ts";
import { ChatMeter } from "./dialects/chat-meter.ts";
import { BodyEndTimer } from "./upstream.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const end = event(chunk([delta({}, { finishReason: "stop" })]));
const used = event(chunk([], { usage: usage(10, 5) }));

/** A stream of which these events have come, and its timer at the wait for the next chunk. */
function waiting(...events: string[]) {
  const body = new PassThrough().on("error", () => {});
  const meter = new ChatMeter({ includeUsage: false });
  meter.push(Buffer.from(events.join("")));
  const timer = new BodyEndTimer(body, meter);
  timer.begin();
  return { body, timer };
}

test("the body of a complete answer is closed after a second, or after three when the usage is missing", () => {
  const [counted, uncounted] = [waiting(end, used), waiting(end)];
  vi.advanceTimersByTime(999);
  expect([counted.body.destroyed, uncounted.body.destroyed]).toEqual([false, false]);
  vi.advanceTimersByTime(1);
  expect([counted.timer.hasFired, counted.body.destroyed, uncounted.body.destroyed]).toEqual([true, true, false]);
  vi.advanceTimersByTime(2_000);
  expect(uncounted.body.destroyed).toBe(true);
});

test("the body of an incomplete answer is not closed, and no body is closed while the client reads a chunk", () => {
  const { body } = waiting(event(chunk([delta({ content: "Hello" })])));
  const read = waiting(end, used);
  read.timer.stop();
  vi.advanceTimersByTime(3_600_000);
  expect([body.destroyed, read.timer.hasFired, read.body.destroyed]).toEqual([false, false, false]);
});
