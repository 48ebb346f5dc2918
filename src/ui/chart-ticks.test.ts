import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { countLabel, dollarLabel, ticksUpTo } from "./chart-ticks.ts";

describe("the lines of a chart", () => {
  test.each([
    [1, [0, 1]],
    [3, [0, 1, 2, 3]],
    [5, [0, 2, 4, 6]],
    [9, [0, 5, 10]],
    [152_000, [0, 50_000, 100_000, 150_000, 200_000]],
    [100_000, [0, 50_000, 100_000]],
    [21_000_000, [0, 10_000_000, 20_000_000, 30_000_000]],
  ])("up to %d", (most, ticks) => {
    expect(ticksUpTo(most)).toEqual(ticks);
  });

  test("begin at zero, are equally far apart, hold the highest bar, and say exactly where they are", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2 ** 50 }), (most) => {
        const ticks = ticksUpTo(most);
        const [zero, step = 0] = ticks;
        expect(zero).toBe(0);
        ticks.forEach((tick, n) => void expect(tick).toBe(n * step));
        expect(ticks.at(-1)).toBeGreaterThanOrEqual(most);
        expect((ticks.at(-1) ?? 0) - step).toBeLessThan(most);
        for (const [label, unit] of [
          [(tick: number) => dollarLabel(tick, step).slice(1), 1_000_000],
          [countLabel, 1],
        ] as const) {
          for (const tick of ticks) {
            const [, digits, power = ""] = /^([\d.,]+)([KMBT]?)$/.exec(label(tick)) ?? [];
            const value = Number(digits?.replaceAll(",", "")) * 1000 ** " KMBT".indexOf(power || " ");
            expect(Math.round(value * unit)).toBe(tick);
          }
        }
      }),
    );
  });

  test.each([
    [0, 50_000, "$0"],
    [100_000, 50_000, "$0.10"],
    [5_000, 5_000, "$0.005"],
    [1_500_000, 500_000, "$1.50"],
    [2_000_000_000, 500_000_000, "$2,000"],
    [2_000_000_000, 1_000_000_000, "$2K"],
    [15_000_000_000, 5_000_000_000, "$15K"],
  ])("%d credits in steps of %d are %s", (credits, step, label) => {
    expect(dollarLabel(credits, step)).toBe(label);
  });
});
