import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formatCredits } from "../packages/nextjs/src/money.ts";
import { creditsOf, dollars, exactDollars, exactly, inCredits } from "./money.ts";

describe("amounts for display", () => {
  test.each([
    [0n, "$0.00"],
    [1n, "<$0.01"],
    [450n, "<$0.01"],
    [9_999n, "<$0.01"],
    [10_000n, "$0.01"],
    [14_999n, "$0.01"],
    [19_999n, "$0.01"],
    [20_000n, "$0.02"],
    [8_400_000n, "$8.40"],
    [999_994_999n, "$999.99"],
    [999_999_999n, "$999.99"],
    [1_000_000_000n, "$1,000.00"],
    [1_234_567_890_000n, "$1,234,567.89"],
    [-450n, "−<$0.01"],
    [-2_500_000n, "−$2.50"],
  ])("%s credits are shown as %s", (credits, shown) => {
    expect(dollars(credits)).toBe(shown);
  });

  test.each([
    [0n, "$0.00"],
    [1n, "$0.000001"],
    [450n, "$0.00045"],
    [10_000n, "$0.01"],
    [8_400_000n, "$8.40"],
    [1_500_000_000n, "$1,500.00"],
    [-450n, "−$0.00045"],
  ])("%s credits are exactly %s", (credits, shown) => {
    expect(exactDollars(credits)).toBe(shown);
  });

  test("are shown in the format of the SDK's formatCredits", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }), (credits) => {
        expect(dollars(BigInt(credits))).toBe(formatCredits(credits));
      }),
    );
  });

  test("are rounded down by less than a cent", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 10_000n, max: 2n ** 63n - 1n }), (credits) => {
        const cents = BigInt(dollars(credits).replaceAll(/[$,.]/g, ""));
        expect(cents * 10_000n <= credits && credits < (cents + 1n) * 10_000n).toBe(true);
      }),
    );
  });

  test("in exact form name credits and dollars", () => {
    expect(exactly(450n)).toBe("450 credits = $0.00045");
    expect(inCredits(1n)).toBe("1 credit");
    expect(inCredits(1_234_567n)).toBe("1,234,567 credits");
  });

  test("in exact form keep every credit, however large", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (credits) => {
        const [whole, fraction = ""] = exactDollars(credits).replace("−", "-").replaceAll(/[$,]/g, "").split(".");
        expect(BigInt(`${whole}${fraction.padEnd(6, "0")}`)).toBe(credits);
      }),
    );
  });

  test.each([
    ["5", 5_000_000n],
    ["$5.00", 5_000_000n],
    [" 0,5 ", 500_000n],
    ["0.07", 70_000n],
    ["0", 0n],
    ["", null],
    ["-1", null],
    ["1.234", null],
    ["1e3", null],
    ["99999999", null],
  ])("%j typed as dollars is %s credits", (typed, credits) => {
    expect(creditsOf(typed)).toBe(credits);
  });
});
