import { expect, test } from "vitest";
import { retryAfter } from "./send.ts";

const now = Date.parse("Sun, 29 Nov 2026 12:00:00 GMT");

test.each<[string, number | null]>([
  ["120", 120_000],
  ["Sun, 29 Nov 2026 12:02:00 GMT", 120_000],
  ["Sunday, 29-Nov-26 12:02:00 GMT", 120_000],
  ["Sun Nov 29 12:02:00 2026", 120_000],
  // Passed, or not a form of RFC 9110.
  ...["0", "-1", "1.5", "", "soon", "1e9", "2026-11-29T12:02:00Z", "Sun, 29 Nov 2026 11:00:00 GMT"].map((text): [string, null] => [
    text,
    null,
  ]),
])("Retry-After: %s is %s ms", (text, expected) => {
  expect(retryAfter({ "retry-after": text }, now)).toBe(expected);
});

test("a date in Retry-After is compared with the Date header of the same answer", () => {
  const headers = { date: "Sun, 29 Nov 2026 09:00:00 GMT", "retry-after": "Sun, 29 Nov 2026 09:01:00 GMT" };
  expect(retryAfter(headers, now)).toBe(60_000);
});

test("without the header the wait is null", () => {
  expect(retryAfter({}, now)).toBe(null);
});
