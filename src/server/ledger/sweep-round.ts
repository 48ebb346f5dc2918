/**
 * Of the holds above the bookmark a round reads this many slices, and the next one goes on
 * there: with thousands of requests a second all of them are too many for every ten seconds.
 * Few of them have expired, and whatever has will soon be below it.
 */
export const YOUNG_SLICES = 10;

/** How far one round of the sweep has come. */
export type Round = {
  /** Above this id the next slice is read. */
  from: string;
  /** Where the bookmark goes: what is not above it is resolved, or listed as running. */
  after: string;
  /** Above the bookmark, where the next round reads on; undefined when this one came to the end. */
  young: string | undefined;
  youngSlices: number;
  over: boolean;
};

/** `known`: below this id no hold comes any more. */
export function begin(bookmark: { after: string; young?: string }, known: string): Round {
  // A clock that was set back makes ids below the bookmark.
  const after = bookmark.after < known ? bookmark.after : known;
  return { from: after, after, young: bookmark.young, youngSlices: 0, over: false };
}

/**
 * Where the round is after a slice was swept. `last`: the highest id in it; null when it
 * was empty. A slice that is not full is the last there is.
 */
export function advance(round: Round, slice: { last: string | null; isFull: boolean }, now: { known: string; outOfTime: boolean }): Round {
  const { last } = slice;
  if (last === null || !slice.isFull) return { ...round, after: now.known, young: undefined, over: true };
  // Ids are compared as text, as the database sorts them, because all of them are lower case.
  if (last < now.known) return { ...round, from: last, after: last, young: now.outOfTime ? undefined : round.young, over: now.outOfTime };
  const youngSlices = round.youngSlices + 1;
  const stops = now.outOfTime || youngSlices > YOUNG_SLICES;
  // What the round before has read of the young holds is skipped, but for one slice.
  const from = youngSlices === 1 && !stops && round.young !== undefined && round.young > last ? round.young : last;
  return { from, after: now.known, young: stops ? last : round.young, youngSlices, over: stops };
}
