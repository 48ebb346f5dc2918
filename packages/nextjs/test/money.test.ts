import { expect, test } from "vitest";
import { formatCredits, formatCreditsExactly } from "../src/money.ts";

test("credits are shown as dollars, and never as more than they are", () => {
  const cases: [number, string, string][] = [
    [0, "$0.00", "$0.000000"],
    [1, "<$0.01", "$0.000001"],
    [9_999, "<$0.01", "$0.009999"],
    [10_000, "$0.01", "$0.010000"],
    [8_399_954, "$8.39", "$8.399954"],
    [1_234_567_890_000, "$1,234,567.89", "$1,234,567.890000"],
  ];
  for (const [credits, short, exact] of cases) expect([formatCredits(credits), formatCreditsExactly(credits)]).toEqual([short, exact]);
});
