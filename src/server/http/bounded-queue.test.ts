import { expect, test } from "vitest";
import { BoundedQueue } from "./bounded-queue.ts";

/** A job that runs until `end` is called. */
function job(name: string, running: string[]) {
  let end = () => {};
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  return {
    end: () => end(),
    async run() {
      running.push(name);
      await ended;
      return name;
    },
  };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

test("at most `atATime` jobs run, and keys are served round-robin", async () => {
  const queue = new BoundedQueue({ atATime: 2, mostWaitingPerKey: 10, mostWaiting: 10 });
  const running: string[] = [];
  const jobs = ["a1", "a2", "a3", "a4", "b1"].map((name) => job(name, running));
  const results = jobs.map((each, at) => queue.run(at < 4 ? "a" : "b", () => each.run()));
  expect(running).toEqual(["a1", "a2"]);
  for (const next of ["a3", "b1", "a4"]) {
    jobs[["a3", "b1", "a4"].indexOf(next)]?.end();
    await settled();
    expect(running.at(-1)).toBe(next);
  }
  for (const each of jobs) each.end();
  expect(await Promise.all(results)).toEqual(["a1", "a2", "a3", "a4", "b1"]);
});

test("a job is refused when its key, or all keys together, have too many waiting", async () => {
  const queue = new BoundedQueue({ atATime: 1, mostWaitingPerKey: 2, mostWaiting: 3 });
  const first = job("first", []);
  const held = queue.run("a", () => first.run());
  const waiting = [queue.run("a", async () => 1), queue.run("a", async () => 2)];
  const overloaded = { code: "overloaded", headers: { "retry-after": "1" } };
  await expect(queue.run("a", async () => 3)).rejects.toMatchObject(overloaded);
  const other = queue.run("b", async () => 4);
  await expect(queue.run("c", async () => 5)).rejects.toMatchObject(overloaded);
  first.end();
  expect(await Promise.all([held, ...waiting, other])).toEqual(["first", 1, 2, 4]);
});

test("a job that fails makes room for the next", async () => {
  const queue = new BoundedQueue({ atATime: 1, mostWaitingPerKey: 2, mostWaiting: 2 });
  const failing = queue.run("a", () => Promise.reject(new Error("no")));
  const next = queue.run("a", async () => 1);
  await expect(failing).rejects.toThrow("no");
  expect(await next).toBe(1);
});
