import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { holdsInEveryRun } from "./property.ts";

describe("a property", () => {
  test("that holds is run as often as asked", async () => {
    let made = 0;
    const property = fc.asyncProperty(fc.nat(), async () => void made++);
    await holdsInEveryRun(property, { runs: 20, floor: 1, withinMs: 60_000 });
    expect(made).toBe(20);
  });

  test("that fails once is told with what it failed for, also when time ended the search for less", async () => {
    const property = fc.asyncProperty(fc.integer({ min: 1 }), async () => expect(1).toBe(2));
    await expect(holdsInEveryRun(property, { runs: 20, floor: 1, withinMs: 60_000 })).rejects.toThrow("Property failed after 1 tests");
    let made = 0;
    const slow = fc.asyncProperty(fc.integer({ min: 1_000 }), () =>
      ++made > 1 ? new Promise<void>(() => {}) : Promise.reject(new Error("wrong")),
    );
    await expect(holdsInEveryRun(slow, { runs: 20, floor: 1, withinMs: 50 })).rejects.toThrow("Property failed after 1 tests");
  });

  test("that was run too seldom in its time is not taken for shown", async () => {
    let made = 0;
    const property = fc.asyncProperty(fc.nat(), () => (++made > 3 ? new Promise<void>(() => {}) : Promise.resolve()));
    const check = (floor: number) => holdsInEveryRun(property, { runs: 20, floor, withinMs: 50 });
    await expect(check(4)).rejects.toThrow(/^only 3 of 20 runs in \d+ ms; at least 4 are needed$/);
    made = 0;
    await check(3);
  });
});
