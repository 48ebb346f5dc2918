import { firstIdAt } from "../platform/ids.ts";
import type { Sql } from "../platform/sql.ts";
import { plainArray } from "../platform/sql.ts";
import { claimTurn } from "../platform/turns.ts";
import { post, unused } from "./hold.ts";
import { advance, begin } from "./sweep-round.ts";

/**
 * The sweep returns the credits of orphans: holds that no server will settle, because the one that made them died. A
 * hold's server may settle it until `expires_at`, by the database's clock; nothing prolongs that, and an open hold after
 * it is an orphan.
 *
 * The bookmark says how far the sweep has come: every hold up to the id `after` is resolved, or listed in `running`. So a
 * round reads the holds made since and that list, however old the database is and whichever servers ran.
 */
type Bookmark = {
  after: string;
  running: string[];
  slice?: number;
  young?: string;
  /** When the last round began, and until when rounds return nothing; by the database's clock. */
  at?: number;
  restUntil?: number;
};

/** A hold is inserted later than its id says: by the request's way to the database, and by how slow its server's clock is. */
const LAG_MS = 10 * 60_000;
/** How far back the first sweep of a database begins; the daily run of `verify` finds older orphans. */
const FIRST_STRETCH_MS = 24 * 60 * 60_000;
/** One round for all server processes, about every ten seconds. */
const EVERY_MS = 8_000;
/**
 * When no round was made for so long, the database or all servers were unreachable. Holds may have expired whose
 * settlement a server still has: on disk, or in a statement that it repeats. So nothing is returned for REST_MS, in which
 * statements without an answer time out (after 40 s) and are repeated. A hold outlives the beginning of its settlement by
 * a minute, which covers shorter silences.
 */
const SILENT_MS = 30_000;
const REST_MS = 60_000;
const ROUND_MS = 5_000;
const SLICE = 2_000;
const SMALLEST_SLICE = 25;

/**
 * One round of the sweep; does nothing when a process made one within `everyMs`. After `roundMs` it ends, and the next
 * round continues. Returns how many holds it released; throws when some could not be, after all others.
 */
export async function sweepOrphans(sql: Sql, options: { roundMs?: number; slice?: number; everyMs?: number } = {}): Promise<number> {
  const everyMs = options.everyMs ?? EVERY_MS;
  const turn = await claimTurn<Bookmark>(sql, SWEEP, { keepMs: 15_000, longestMs: everyMs });
  if (turn === null) return 0;
  const now = turn.now.getTime();
  const restUntil = restAfter(turn.memory, now);
  if (turn.memory !== null && restUntil > now) {
    await turn.end(everyMs, { ...turn.memory, at: now, restUntil });
    return 0;
  }
  const mostRows = options.slice ?? SLICE;
  const endAt = performance.now() + (options.roundMs ?? ROUND_MS);
  const bookmark = turn.memory ?? { after: firstIdAt(turn.now.getTime() - FIRST_STRETCH_MS), running: [] };
  const rows = Math.min(bookmark.slice ?? mostRows, mostRows);
  // Above this id holds may still be inserted, so what is above it is swept, and read again in a later round.
  const known = firstIdAt(turn.now.getTime() - LAG_MS);
  const released = new Released();
  let running = bookmark.running;
  let round = begin(bookmark, known);
  let failed = true;
  try {
    running = await releaseListed(sql, running, rows, released);
    while (!round.over) {
      const [slice] = await sql.query(sliceStatement, [round.from, rows, false, known]);
      const stuck = await release(sql, idsOf(slice?.orphans), released);
      running.push(...stuck.filter((id) => id < known), ...idsOf(slice?.running));
      const last = (slice?.last ?? null) === null ? null : String(slice?.last);
      round = advance(round, { last, isFull: Number(slice?.seen) >= rows }, { known, outOfTime: performance.now() > endAt });
    }
    failed = false;
  } finally {
    // After a failure slices are smaller, because the statement may have run into its timeout.
    const slice = failed ? Math.max(SMALLEST_SLICE, Math.floor(rows / 4)) : Math.min(rows * 2, SLICE);
    const { after, young } = round;
    await turn.end(everyMs, { after, running, slice, at: now, ...(young === undefined ? {} : { young }) });
  }
  return released.count();
}

/** Releases the orphans among these holds; returns the ids of those that are still open. */
async function releaseListed(sql: Sql, running: readonly string[], rows: number, released: Released): Promise<string[]> {
  const still: string[] = [];
  for (let from = 0; from < running.length; from += rows) {
    const [found] = await sql.query(theseStatement, [plainArray(running.slice(from, from + rows)), false]);
    still.push(...(await release(sql, idsOf(found?.orphans), released)), ...idsOf(found?.running));
  }
  return still;
}

/** Until when rounds return nothing, in ms since the epoch; 0 when they do. At most REST_MS from now, also after a clock was set back. */
function restAfter(memory: Bookmark | null, now: number): number {
  if (memory?.at === undefined) return 0;
  if (now - memory.at > SILENT_MS) return now + REST_MS;
  return memory.restUntil !== undefined && memory.restUntil <= now + REST_MS ? memory.restUntil : 0;
}

/**
 * Releases all open holds, expired or not; returns how many. Only for a caller that knows that no request is under way,
 * such as after opening an embedded database.
 */
export async function sweepAtStart(sql: Sql): Promise<number> {
  const bookmark = await readBookmark(sql);
  const released = new Released();
  let swept = 0;
  if (bookmark !== null) {
    const [found] = await sql.query(theseStatement, [plainArray(bookmark.running), true]);
    await release(sql, idsOf(found?.orphans), released);
    swept += released.count();
    swept += await sweepHolds(sql, { all: true, after: bookmark.after });
  }
  // After a clock was set back, holds may have ids below the bookmark.
  const [held] = await sql.query(heldStatement, []);
  if (held !== undefined) swept += await sweepHolds(sql, { all: true });
  return swept;
}

/** Where open holds are: from the id `after` on, and among `running`. All others are resolved. */
export async function openSince(sql: Sql): Promise<{ after: string; running: string[] }> {
  return (await readBookmark(sql)) ?? { after: firstIdAt(Date.now() - FIRST_STRETCH_MS), running: [] };
}

/**
 * Releases every orphan above the id `after`, by default all of them, in slices. `all`: also holds that have not expired.
 * Returns how many it released.
 */
export async function sweepHolds(sql: Sql, options: { all?: boolean; after?: string } = {}): Promise<number> {
  const released = new Released();
  let after = options.after ?? FIRST_ID;
  for (;;) {
    const [slice] = await sql.query(sliceStatement, [after, SLICE, options.all ?? false, FIRST_ID]);
    await release(sql, idsOf(slice?.orphans), released);
    if (slice === undefined || slice.last === null || Number(slice.seen) < SLICE) return released.count();
    after = String(slice.last);
  }
}

class Released {
  swept = 0;
  #first: { error: unknown } | null = null;

  fault(error: unknown): void {
    this.#first ??= { error };
  }
  /** How many were released; throws the error of the first hold that could not be. */
  count(): number {
    if (this.#first !== null) throw this.#first.error;
    return this.swept;
  }
}

/** Releases holds; returns the ids of those that could not be: their data is faulty or another session has locked their accounts. */
async function release(sql: Sql, ids: readonly string[], released: Released): Promise<string[]> {
  const stuck: string[] = [];
  for (let from = 0; from < ids.length; from += 100) {
    const batch = ids.slice(from, from + 100);
    try {
      stuck.push(...(await releaseAtOnce(sql, batch, released, { skipLocked: true })));
    } catch (error) {
      if (!isDataFault(error)) throw error;
      for (const id of batch) {
        try {
          // Waits for locks: those of the failed statement may be released after its error has arrived.
          stuck.push(...(await releaseAtOnce(sql, [id], released, { skipLocked: false })));
        } catch (fault) {
          if (!isDataFault(fault) && (fault as { code?: unknown }).code !== "55P03") throw fault;
          stuck.push(id);
          released.fault(fault);
        }
      }
    }
  }
  return stuck;
}

/** Releases holds in one statement; with `skipLocked`, returns the ids of those whose accounts another session has locked. */
async function releaseAtOnce(sql: Sql, ids: readonly string[], released: Released, options: { skipLocked: boolean }): Promise<string[]> {
  const { settlements } = await post(
    sql,
    ids.map((id) => unused(id, "swept", "sweeper")),
    [],
    options,
  );
  released.swept += settlements.filter(({ kind }) => kind === "settled").length;
  return ids.filter((_, index) => settlements[index]?.kind === "locked");
}

/** A data or integrity error, such as an account that is missing or would be below zero: a repetition fails too, but other holds do not. */
function isDataFault(error: unknown): boolean {
  return /^2[23]/.test(String((error as { code?: unknown }).code));
}

const FIRST_ID = firstIdAt(0);
const SWEEP = "sweep";

function idsOf(list: unknown): string[] {
  return typeof list === "string" && list !== "" ? list.split(",") : [];
}

// Usage is looked up by id for each hold, so that only the partition with that id is read.
const lookUp = `LEFT JOIN LATERAL (SELECT 1 AS there FROM usage u WHERE u.id = h.id OFFSET 0) u ON true`;
const listed = (condition: string) => `coalesce(string_agg(id::text, ',' ORDER BY id) FILTER (WHERE ${condition}), '')`;

/** Of the next holds, the orphans, and those below the id `$4` that are under way. */
const sliceStatement = {
  name: "ledger_orphans",
  text: `
    WITH slice AS MATERIALIZED (
      SELECT h.id, $3::bool OR h.expires_at < now() AS orphan FROM hold h WHERE h.id > $1::uuid ORDER BY h.id LIMIT $2::int),
    open AS MATERIALIZED (
      SELECT h.id, h.orphan FROM (SELECT * FROM slice WHERE orphan OR id < $4::uuid OFFSET 0) h ${lookUp} WHERE u.there IS NULL)
    SELECT (SELECT id::text FROM slice ORDER BY id DESC LIMIT 1) AS last, (SELECT count(*) FROM slice)::int AS seen,
      (SELECT ${listed("orphan")} FROM open) AS orphans, (SELECT ${listed("NOT orphan")} FROM open) AS running`,
};

const theseStatement = {
  name: "ledger_orphans_among",
  text: `
    WITH open AS MATERIALIZED (
      SELECT h.id, $2::bool OR h.expires_at < now() AS orphan
      FROM unnest($1::uuid[]) q(id)
      JOIN LATERAL (SELECT h.id, h.expires_at FROM hold h WHERE h.id = q.id OFFSET 0) h ON true ${lookUp} WHERE u.there IS NULL)
    SELECT ${listed("orphan")} AS orphans, ${listed("NOT orphan")} AS running FROM open`,
};

async function readBookmark(sql: Sql): Promise<Bookmark | null> {
  const [row] = await sql.query(bookmarkStatement, [`turn_${SWEEP}`]);
  return typeof row?.memory === "string" ? (JSON.parse(row.memory) as Bookmark) : null;
}
const bookmarkStatement = { name: "ledger_bookmark", text: `SELECT (value->'memory')::text AS memory FROM setting WHERE key = $1::text` };
const heldStatement = { name: "ledger_anything_held", text: `SELECT 1 AS found FROM account WHERE held <> 0 LIMIT 1` };
