import { expect, test } from "vitest";
import { plainArray, readPlainArray } from "./sql.ts";

test("an array literal of plain values reads as it was written, with NULL in any place", () => {
  for (const values of [[], [1n], [null], ["t", null, null, "f"], [null, 3, null]]) {
    expect(readPlainArray(plainArray(values))).toEqual(values.map((value) => (value === null ? null : String(value))));
  }
});
