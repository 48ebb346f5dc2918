import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { firstIdAt } from "../platform/ids.ts";
import { advance, begin, type Round, YOUNG_SLICES } from "./sweep-round.ts";

const at = (ms: number) => firstIdAt(1_700_000_000_000 + ms);
const known = at(1_000);
const now = { known, outOfTime: false };
const full = (ms: number) => ({ last: at(ms), isFull: true });

describe("a round of the sweep", () => {
  test("begins at the bookmark, and not above the known ids", () => {
    expect(begin({ after: at(10) }, known)).toMatchObject({ from: at(10), after: at(10), over: false });
    expect(begin({ after: at(2_000) }, known)).toMatchObject({ from: known, after: known });
  });

  test("moves the bookmark with each full slice of holds that are known", () => {
    const round = advance(begin({ after: at(10) }, known), full(20), now);
    expect(round).toMatchObject({ from: at(20), after: at(20), over: false });
  });

  test("ends with a slice that is not full, and moves the bookmark to the end of the known ids", () => {
    for (const slice of [
      { last: at(30), isFull: false },
      { last: at(3_000), isFull: false },
      { last: null, isFull: false },
    ])
      expect(advance(begin({ after: at(10), young: at(5_000) }, known), slice, now)).toMatchObject({
        after: known,
        young: undefined,
        over: true,
      });
  });

  test("leaves the bookmark below young holds, which may be followed by lower ids", () => {
    expect(advance(begin({ after: at(10) }, known), full(4_000), now)).toMatchObject({ from: at(4_000), after: known, over: false });
  });

  test("reads a fixed number of slices of young holds and returns where the next round continues", () => {
    let round = begin({ after: at(10) }, known);
    let slices = 0;
    while (!round.over) round = advance(round, full(2_000 + ++slices), now);
    expect(slices).toBe(YOUNG_SLICES + 1);
    expect(round).toMatchObject({ after: known, young: at(2_000 + slices) });
  });

  test("continues after its first young slice where the round before stopped", () => {
    const first = advance(begin({ after: at(10), young: at(6_000) }, known), full(4_000), now);
    expect(first.from).toBe(at(6_000));
    expect(advance(first, full(6_500), now).from).toBe(at(6_500));
    expect(advance(begin({ after: at(10), young: at(3_000) }, known), full(4_000), now).from).toBe(at(4_000));
  });

  test("that runs out of time keeps its progress", () => {
    const late = { known, outOfTime: true };
    expect(advance(begin({ after: at(10), young: at(6_000) }, known), full(20), late)).toMatchObject({
      after: at(20),
      young: undefined,
      over: true,
    });
    expect(advance(begin({ after: at(10) }, known), full(4_000), late)).toMatchObject({ after: known, young: at(4_000), over: true });
  });

  test("passes over no known hold and reaches the end, for any holds and in rounds of any length", () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.integer({ min: 11, max: 3_000 }), { maxLength: 80 }),
        fc.integer({ min: 1, max: 7 }),
        fc.array(fc.boolean(), { minLength: 1, maxLength: 20 }),
        (holds, rows, times) => {
          const ids = holds.map(at).sort();
          const seen = new Set<string>();
          let bookmark: { after: string; young?: string } = { after: at(10) };
          for (let rounds = 0; rounds < 200 && bookmark.after !== known; rounds++) {
            let round: Round = begin(bookmark, known);
            for (let slices = 0; !round.over; slices++) {
              const slice = ids.filter((id) => id > round.from).slice(0, rows);
              for (const id of slice) seen.add(id);
              const outOfTime = times[(rounds + slices) % times.length] === true;
              round = advance(round, { last: slice.at(-1) ?? null, isFull: slice.length >= rows }, { known, outOfTime });
              for (const id of ids) if (id <= round.after && id < known) expect(seen.has(id)).toBe(true);
            }
            bookmark = { after: round.after, ...(round.young === undefined ? {} : { young: round.young }) };
          }
          expect(bookmark.after).toBe(known);
        },
      ),
    );
  });
});
