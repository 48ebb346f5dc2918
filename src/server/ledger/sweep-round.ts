/**
 * Slices above the bookmark that a round reads after the first one; the next round continues there. With thousands of requests a
 * second there are too many of these holds to read all every ten seconds. Few of them have expired, and the bookmark
 * passes each when it is ten minutes old.
 */
export const YOUNG_SLICES = 10;

/** How far one round of the sweep has come. */
export type Round = {
  /** The next slice begins above this id. */
  from: string;
  /** The bookmark after the round: holds up to this id are resolved, or listed as running. */
  after: string;
  /** An id above the bookmark, where the next round continues; undefined when this one reached the end. */
  young: string | undefined;
  youngSlices: number;
  over: boolean;
};

/** `known`: no hold is inserted below this id any more. */
export function begin(bookmark: { after: string; young?: string }, known: string): Round {
  // After a clock was set back, new ids may be below the bookmark.
  const after = bookmark.after < known ? bookmark.after : known;
  return { from: after, after, young: bookmark.young, youngSlices: 0, over: false };
}

/**
 * The round after a slice was swept. `last`: the highest id in the slice; null when it was
 * empty. A slice that is not full is the last one.
 */
export function advance(round: Round, slice: { last: string | null; isFull: boolean }, now: { known: string; outOfTime: boolean }): Round {
  const { last } = slice;
  if (last === null || !slice.isFull) return { ...round, after: now.known, young: undefined, over: true };
  // Lower-case UUIDs are compared as text in the order in which PostgreSQL compares UUIDs.
  if (last < now.known) return { ...round, from: last, after: last, young: now.outOfTime ? undefined : round.young, over: now.outOfTime };
  const youngSlices = round.youngSlices + 1;
  const stops = now.outOfTime || youngSlices > YOUNG_SLICES;
  // After its first slice above the bookmark, a round continues where the one before has stopped.
  const from = youngSlices === 1 && !stops && round.young !== undefined && round.young > last ? round.young : last;
  return { from, after: now.known, young: stops ? last : round.young, youngSlices, over: stops };
}
