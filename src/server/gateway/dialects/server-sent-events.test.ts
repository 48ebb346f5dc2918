import fc from "fast-check";
import { expect, test } from "vitest";
import { endOfLastEvent, eventData, eventsIn } from "./server-sent-events.ts";

const lineEnd = fc.constantFrom("\n", "\r\n", "\r");
const value = fc.stringMatching(/^[a-z:"é🦊]{1,8}$/u);
/** Events of one or two lines, and their bytes with each kind of line end. */
const anyEvents = fc.array(
  fc.record({ data: fc.array(value, { minLength: 1, maxLength: 2 }), ends: fc.array(lineEnd, { minLength: 3, maxLength: 3 }) }),
  {
    minLength: 1,
    maxLength: 4,
  },
);

const written = (events: { data: string[]; ends: string[] }[]) =>
  events.map(({ data, ends }) => `${data.map((line, at) => `data: ${line}${ends[at]}`).join("")}${ends[2]}`).join("");

test("events are found at each kind of line end, and no byte is lost", () => {
  fc.assert(
    fc.property(anyEvents, (events) => {
      const text = written(events);
      expect(eventsIn(text).join("")).toBe(text);
      // A CR and an LF after it are one line end.
      fc.pre(events.every(({ data, ends }) => !(ends[data.length - 1] === "\r" && ends[2] === "\n")));
      expect(eventsIn(text).flatMap((event) => eventData(event) ?? [])).toEqual(events.map(({ data }) => data.join(" ")));
    }),
    { numRuns: 500 },
  );
});

test("bytes that are cut anywhere give the same events as uncut ones", () => {
  fc.assert(
    fc.property(anyEvents, lineEnd, fc.array(fc.nat(), { maxLength: 8 }), (events, end, cuts) => {
      const bytes = Buffer.from(written(events.map(({ data }) => ({ data, ends: [end, end, end] }))));
      const places = [...new Set([...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length])].sort((a, b) => a - b);
      const found: string[] = [];
      let rest = Buffer.alloc(0);
      for (const [index, place] of places.entries()) {
        rest = Buffer.concat([rest, bytes.subarray(places[index - 1] ?? 0, place)]);
        const whole = endOfLastEvent(rest);
        if (whole > 0) found.push(...eventsIn(rest.subarray(0, whole)));
        rest = rest.subarray(whole);
      }
      expect(rest.length).toBe(0);
      expect(found.flatMap((event) => eventData(event) ?? [])).toEqual(events.map(({ data }) => data.join(" ")));
    }),
    { numRuns: 500 },
  );
});

test.each([
  ["data: a\n\n", 9],
  ["data: a\r\n\r\n", 11],
  ["data: a\r\r", 9],
  ["data: a\n\r\n", 10],
  ["data: a\r\n\n", 10],
  ["data: a\n\rdata: b", 9],
  // The next byte may be an LF.
  ["data: a\r\n\r", 0],
  ["data: a\n\r", 0],
  ["data: a\r\n", 0],
  ["data: a\r", 0],
  ["data: a\n\n\n\r", 10],
])("the last whole event of %j ends at %i", (text, end) => {
  expect(endOfLastEvent(Buffer.from(text))).toBe(end);
});
