import { describe, expect, test } from "vitest";
import { bpsOf, percentOf } from "./percent.ts";

describe("a markup in percent", () => {
  test.each([
    ["0", 0],
    ["20", 2000],
    ["12.5", 1250],
    ["12,5", 1250],
    ["0.07", 7],
    [" 1000 ", 100_000],
  ])("%s is %s basis points", (typed, bps) => {
    expect(bpsOf(typed)).toBe(bps);
  });

  test.each(["", "-1", "1.234", "1e3", "ten", "1 2", "."])("%j is not a percentage", (typed) => {
    expect(bpsOf(typed)).toBeNull();
  });

  test("what is shown can be typed again", () => {
    for (let bps = 0; bps <= 100_000; bps++) expect(bpsOf(percentOf(bps))).toBe(bps);
  });
});
