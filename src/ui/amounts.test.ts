import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { creditsOf, dollars, exactDollars, exactly, inCredits } from "./amounts.ts";

describe("money for people", () => {
  test.each([
    [0n, "$0.00"],
    [1n, "<$0.01"],
    [450n, "<$0.01"],
    [9_999n, "<$0.01"],
    [10_000n, "$0.01"],
    [14_999n, "$0.01"],
    [15_000n, "$0.02"],
    [8_400_000n, "$8.40"],
    [999_994_999n, "$999.99"],
    [999_995_000n, "$1,000.00"],
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

  test("the exact value on hover names credits and dollars", () => {
    expect(exactly(450n)).toBe("450 credits = $0.00045");
    expect(inCredits(1n)).toBe("1 credit");
    expect(inCredits(1_234_567n)).toBe("1,234,567 credits");
  });

  test("an exact amount loses no credit, however large", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (credits) => {
        const [whole, fraction = ""] = exactDollars(credits).replace("−", "-").replaceAll(/[$,]/g, "").split(".");
        expect(BigInt(`${whole}${fraction.padEnd(6, "0")}`)).toBe(credits);
      }),
    );
  });
});

describe("an amount that somebody types", () => {
  test.each([
    ["5", 5_000_000n],
    ["$5.00", 5_000_000n],
    ["0,5", 500_000n],
    [" 0.000001 ", 1n],
    ["0", 0n],
  ])("%s is understood", (typed, credits) => {
    expect(creditsOf(typed)).toBe(credits);
  });

  test.each(["", "five", "-1", "1e3", "1.0000001", "1.2.3", "1,000.00", "9999999999"])("%j is not", (typed) => {
    expect(creditsOf(typed)).toBeNull();
  });
});
