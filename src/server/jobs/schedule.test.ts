import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { log } from "../platform/log.ts";
import { Schedule } from "./schedule.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/** Lets all jobs run that wait only for the queue. */
const turns = () => new Promise((resolve) => setImmediate(resolve));

function held() {
  let release = () => {};
  const promise = new Promise<void>((resolve) => {
    release = resolve;
  });
  return { promise, release };
}

test("jobs run one after the other, and rounds are skipped while a long job runs", async () => {
  const schedule = new Schedule();
  const done: string[] = [];
  const long = held();
  schedule.every(1_000, "long", async () => {
    done.push("long begins");
    await long.promise;
    done.push("long ends");
  });
  schedule.every(1_000, "short", async () => void done.push("short"));
  vi.advanceTimersByTime(10_000);
  await turns();
  expect(done).toEqual(["long begins"]);
  long.release();
  await turns();
  expect(done).toEqual(["long begins", "long ends", "short"]);
  vi.advanceTimersByTime(1_000);
  await turns();
  expect(done.slice(3)).toEqual(["long begins", "long ends", "short"]);
  await schedule.stop();
});

test("a job that fails is logged and runs again in its next round", async () => {
  const logged = vi.spyOn(log, "error").mockImplementation(() => {});
  const schedule = new Schedule();
  let runs = 0;
  schedule.soon("once", async () => {
    throw new Error("not today");
  });
  schedule.every(1_000, "sweep", async () => {
    if (++runs === 1) throw new Error("not now");
  });
  vi.advanceTimersByTime(1_000);
  await turns();
  vi.advanceTimersByTime(1_000);
  await turns();
  expect(runs).toBe(2);
  expect(logged.mock.calls.map(([message]) => message)).toEqual(["once failed", "sweep failed"]);
  await schedule.stop();
});

test("stopping waits for the running job and starts no other", async () => {
  const schedule = new Schedule();
  const done: string[] = [];
  const first = held();
  schedule.soon("first", async () => {
    await first.promise;
    done.push("first");
  });
  schedule.soon("second", async () => void done.push("second"));
  await turns();
  const stopped = schedule.stop().then(() => done.push("stopped"));
  await turns();
  expect(done).toEqual([]);
  first.release();
  await stopped;
  vi.advanceTimersByTime(10_000);
  await turns();
  expect(done).toEqual(["first", "stopped"]);
});

test("stopping aborts the running job's signal, so that a long job can end early", async () => {
  const schedule = new Schedule();
  let slices = 0;
  schedule.soon("long", async (signal) => {
    for (; !signal.aborted; slices++) await turns();
  });
  await expect.poll(() => slices).toBeGreaterThan(0);
  await schedule.stop();
  const done = slices;
  await turns();
  expect(slices).toBe(done);
});
