import fc from "fast-check";
import { v7 as uuidv7 } from "uuid";
import { expect, test } from "vitest";
import { firstIdAt, isUuid } from "./ids.ts";

const moments = fc.integer({ min: 1, max: 2 ** 48 - 2 });

test("the first id of a moment is above every id made before the moment, and at or below every id made since", () => {
  fc.assert(
    fc.property(moments, (moment) => {
      const made = uuidv7({ msecs: moment });
      expect(firstIdAt(moment) <= made).toBe(true);
      expect(firstIdAt(moment + 1) > made).toBe(true);
    }),
  );
});

test("ids of one moment are between its first id and the next moment's, whatever their other bits are", () => {
  fc.assert(
    fc.property(moments, fc.stringMatching(/^[0-9a-f]{20}$/), (moment, rest) => {
      const time = moment.toString(16).padStart(12, "0");
      const id = `${time}${rest}`.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
      expect(firstIdAt(moment) <= id && id < firstIdAt(moment + 1)).toBe(true);
    }),
  );
});

test("the first id of a moment is a UUID for a date, a fraction of a millisecond, and a time before 1970", () => {
  expect(firstIdAt(new Date(1_700_000_000_000))).toBe(firstIdAt(1_700_000_000_000));
  expect(firstIdAt(1_700_000_000_000.9)).toBe(firstIdAt(1_700_000_000_000));
  expect(firstIdAt(-1)).toBe("00000000-0000-0000-0000-000000000000");
  expect(isUuid(firstIdAt(Date.now()))).toBe(true);
});
