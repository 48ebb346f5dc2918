import { expect, test } from "vitest";
import { AppError } from "../platform/errors.ts";
import { runInFairQueue } from "./fair-queue.ts";

test("keys are served round-robin, and the event loop runs other callbacks after each job", async () => {
  const order: string[] = [];
  const work = (name: string) => () => {
    order.push(name);
    setImmediate(() => order.push(`after ${name}`));
    return name;
  };
  const all = [
    runInFairQueue("a", work("a1")),
    runInFairQueue("a", work("a2")),
    runInFairQueue("a", work("a3")),
    runInFairQueue("b", work("b1")),
  ];
  expect(await Promise.all(all)).toEqual(["a1", "a2", "a3", "b1"]);
  expect(order.filter((each) => !each.startsWith("after"))).toEqual(["a1", "a2", "b1", "a3"]);
  for (const [at, each] of order.entries()) if (at % 2 === 1) expect(each).toBe(`after ${order[at - 1]}`);
});

test("a key with too many jobs waiting is refused, and another key is not", async () => {
  const results = await Promise.allSettled(
    Array.from({ length: 40 }, (_, at) => runInFairQueue("greedy", () => at)).concat(runInFairQueue("other", () => -1)),
  );
  const refused = results.filter((each) => each.status === "rejected");
  // The first job runs at once when the queue is idle, so it does not wait.
  expect([7, 8]).toContain(refused.length);
  for (const { reason } of refused) expect(reason).toMatchObject({ code: "overloaded", headers: { "retry-after": "1" } });
  expect(results.at(-1)).toEqual({ status: "fulfilled", value: -1 });
});

test("an error of a job rejects its own promise, and the next job runs", async () => {
  const failing = runInFairQueue("a", () => {
    throw new AppError("bad_request");
  });
  const next = runInFairQueue("a", () => 1);
  await expect(failing).rejects.toThrow(AppError);
  expect(await next).toBe(1);
});
