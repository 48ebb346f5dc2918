import { expect, test } from "vitest";
import { AppError } from "../platform/errors.ts";
import { inTurn } from "./heavy.ts";

test("keys take turns, and the process has one of its own after each", async () => {
  const order: string[] = [];
  const work = (name: string) => () => {
    order.push(name);
    setImmediate(() => order.push(`after ${name}`));
    return name;
  };
  const all = [inTurn("a", work("a1")), inTurn("a", work("a2")), inTurn("a", work("a3")), inTurn("b", work("b1"))];
  expect(await Promise.all(all)).toEqual(["a1", "a2", "a3", "b1"]);
  expect(order.filter((each) => !each.startsWith("after"))).toEqual(["a1", "a2", "b1", "a3"]);
  for (const [at, each] of order.entries()) if (at % 2 === 1) expect(each).toBe(`after ${order[at - 1]}`);
});

test("what a key has too much of waiting is refused, and another key's is not", async () => {
  const results = await Promise.allSettled(
    Array.from({ length: 40 }, (_, at) => inTurn("greedy", () => at)).concat(inTurn("other", () => -1)),
  );
  const refused = results.filter((each) => each.status === "rejected");
  // The first may have begun at once, and then did not wait.
  expect([7, 8]).toContain(refused.length);
  for (const { reason } of refused) expect(reason).toMatchObject({ code: "overloaded", headers: { "retry-after": "1" } });
  expect(results.at(-1)).toEqual({ status: "fulfilled", value: -1 });
});

test("an error of the work is its caller's, and the next has its turn", async () => {
  const failing = inTurn("a", () => {
    throw new AppError("bad_request");
  });
  const next = inTurn("a", () => 1);
  await expect(failing).rejects.toThrow(AppError);
  expect(await next).toBe(1);
});
