import { PassThrough } from "node:stream";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { chunk, delta, event, usage } from "#testing/upstream-answers.ts";
import { ChatMeter } from "./dialects/chat-meter.ts";
import { LastWait } from "./upstream.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const end = event(chunk([delta({}, { finishReason: "stop" })]));
const used = event(chunk([], { usage: usage(10, 5) }));

/** The wait for the next chunk, after these events came. */
function waiting(...events: string[]) {
  const body = new PassThrough().on("error", () => {});
  const meter = new ChatMeter({ includeUsage: false });
  meter.push(Buffer.from(events.join("")));
  const wait = new LastWait(body, meter);
  wait.begin();
  return { body, wait };
}

test("the body of a complete answer ends a second later, and three where its usage is missing", () => {
  const [counted, uncounted] = [waiting(end, used), waiting(end)];
  vi.advanceTimersByTime(999);
  expect([counted.body.destroyed, uncounted.body.destroyed]).toEqual([false, false]);
  vi.advanceTimersByTime(1);
  expect([counted.wait.isOver, counted.body.destroyed, uncounted.body.destroyed]).toEqual([true, true, false]);
  vi.advanceTimersByTime(2_000);
  expect(uncounted.body.destroyed).toBe(true);
});

test("the body of an answer that goes on has no such end, and one whose chunk came has none while the client reads it", () => {
  const { body } = waiting(event(chunk([delta({ content: "Hello" })])));
  const read = waiting(end, used);
  read.wait.stop();
  vi.advanceTimersByTime(3_600_000);
  expect([body.destroyed, read.wait.isOver, read.body.destroyed]).toEqual([false, false, false]);
});
