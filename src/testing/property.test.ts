import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { holdsInEveryRun } from "./property.ts";

describe("a property", () => {
  test("that holds is run for the given number of times", async () => {
    let made = 0;
    const property = fc.asyncProperty(fc.nat(), async () => void made++);
    await holdsInEveryRun(property, { runs: 20, floor: 1, withinMs: 60_000 });
    expect(made).toBe(20);
  });

  test("that fails is reported with its counterexample, also when time ended the search for a smaller one", async () => {
    const property = fc.asyncProperty(fc.integer({ min: 1 }), async () => expect(1).toBe(2));
    await expect(holdsInEveryRun(property, { runs: 20, floor: 1, withinMs: 60_000 })).rejects.toThrow("Property failed after 1 tests");
    let made = 0;
    const slow = fc.asyncProperty(fc.integer({ min: 1_000 }), () =>
      ++made > 1 ? new Promise<void>(() => {}) : Promise.reject(new Error("wrong")),
    );
    await expect(holdsInEveryRun(slow, { runs: 20, floor: 1, withinMs: 50 })).rejects.toThrow("Property failed after 1 tests");
  });

  test("that ran fewer times than the floor within its time fails", async () => {
    let made = 0;
    const property = fc.asyncProperty(fc.nat(), () => (++made > 3 ? new Promise<void>(() => {}) : Promise.resolve()));
    const check = (floor: number) => holdsInEveryRun(property, { runs: 20, floor, withinMs: 50 });
    await expect(check(4)).rejects.toThrow(/^only 3 of 20 runs in \d+ ms; at least 4 are needed$/);
    made = 0;
    await check(3);
  });
});
