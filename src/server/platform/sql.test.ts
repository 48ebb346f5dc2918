import { expect, test } from "vitest";
import { plainArray, readPlainArray } from "./sql.ts";

test("an array of values without quotes reads as it was written, whatever is NULL", () => {
  for (const values of [[], [1n], [null], ["t", null, null, "f"], [null, 3, null]]) {
    expect(readPlainArray(plainArray(values))).toEqual(values.map((value) => (value === null ? null : String(value))));
  }
});
