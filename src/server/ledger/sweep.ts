import { firstIdAt } from "../platform/ids.ts";
import type { Sql } from "../platform/sql.ts";
import { plainArray } from "../platform/sql.ts";
import { claimTurn } from "../platform/turns.ts";
import { post, unused } from "./hold.ts";
import { advance, begin } from "./sweep-round.ts";

/**
 * Returns the credits of holds that nobody will resolve any more, because the server
 * that made them died. A hold says itself until when its server may settle it
 * (`expires_at`, by the database's clock); nothing prolongs it, and after that it is an orphan.
 *
 * How far the sweep has come is kept in the database: every hold below that id is
 * resolved, or named among those that were still running. So a round reads what was made
 * since, whatever the age of the database and whichever servers lived how long.
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

/** A hold is there later than its id says: by the way to the database, and by how far its server's clock is behind. */
const LAG_MS = 10 * 60_000;
/** Where a database begins that has never been swept; what is older the daily proof finds. */
const FIRST_STRETCH_MS = 24 * 60 * 60_000;
/** One round for all server processes, about every ten seconds. */
const EVERY_MS = 8_000;
/**
 * When nobody has swept for so long, the database was away, or every server was. Holds may
 * have expired meanwhile whose settlement somebody still has: on disk, or in a statement
 * that is asked again. So nothing is returned until a statement without an answer has timed out
 * everywhere (40 s) and was asked again. A hold outlives the beginning of its settlement by a
 * minute, which covers silences that are shorter.
 */
const SILENT_MS = 30_000;
const REST_MS = 60_000;
const ROUND_MS = 5_000;
const SLICE = 2_000;
const SMALLEST_SLICE = 25;
/**
 * One round of the sweep; does nothing when another process has just had one. What is
 * too much for a round the next one goes on with. Returns how many holds it released.
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
  // What is younger may be followed by holds with lower ids: it is swept, and read again.
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
    // A statement that took too long has read too much at once.
    const slice = failed ? Math.max(SMALLEST_SLICE, Math.floor(rows / 4)) : Math.min(rows * 2, SLICE);
    const { after, young } = round;
    await turn.end(everyMs, { after, running, slice, at: now, ...(young === undefined ? {} : { young }) });
  }
  return released.count();
}

/** Releases the orphans among those that were still running; the others are running still. */
async function releaseListed(sql: Sql, running: readonly string[], rows: number, released: Released): Promise<string[]> {
  const still: string[] = [];
  for (let from = 0; from < running.length; from += rows) {
    const [found] = await sql.query(theseStatement, [plainArray(running.slice(from, from + rows)), false]);
    still.push(...(await release(sql, idsOf(found?.orphans), released)), ...idsOf(found?.running));
  }
  return still;
}

/** Until when nothing is returned; 0 for at once. A clock that was set back does not make it long. */
function restAfter(memory: Bookmark | null, now: number): number {
  if (memory?.at === undefined) return 0;
  if (now - memory.at > SILENT_MS) return now + REST_MS;
  return memory.restUntil !== undefined && memory.restUntil <= now + REST_MS ? memory.restUntil : 0;
}

/**
 * Returns all that is on hold, expired or not: only for an owner who knows that no
 * request is under way, such as an embedded database that has just been opened.
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
  // A clock that was set back makes ids that are older than their requests.
  const [held] = await sql.query(heldStatement, []);
  if (held !== undefined) swept += await sweepHolds(sql, { all: true });
  return swept;
}

/** Where to look for open holds: from the id `after` on, and those that are listed. Every other one is resolved. */
export async function openSince(sql: Sql): Promise<{ after: string; running: string[] }> {
  return (await readBookmark(sql)) ?? { after: firstIdAt(Date.now() - FIRST_STRETCH_MS), running: [] };
}

/**
 * Releases every orphan above the id `after`, or from the first hold on, in slices. `all` also
 * takes holds that have not expired. Returns how many holds it released.
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
  /** How many were released; throws what was wrong with the first that could not be. */
  count(): number {
    if (this.#first !== null) throw this.#first.error;
    return this.swept;
  }
}

/** Releases these. Those with which something is wrong, or whose accounts somebody else has locked, stand in nobody's way, and are handed back. */
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
          // Waits: the database may tell of an error before it gives back the locks of what failed.
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

/** In one statement; returns those whose accounts somebody else has locked, when it does not wait for them. */
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

/** An account is missing, or would be below zero: asking again does not help, and other holds are not to blame. */
function isDataFault(error: unknown): boolean {
  return /^2[23]/.test(String((error as { code?: unknown }).code));
}

const FIRST_ID = firstIdAt(0);
const SWEEP = "sweep";

function idsOf(list: unknown): string[] {
  return typeof list === "string" && list !== "" ? list.split(",") : [];
}

// Usage is looked up by id, hold by hold: of its partitions only the one that an id is in is read.
const lookUp = `LEFT JOIN LATERAL (SELECT 1 AS there FROM usage u WHERE u.id = h.id OFFSET 0) u ON true`;
const listed = (condition: string) => `coalesce(string_agg(id::text, ',' ORDER BY id) FILTER (WHERE ${condition}), '')`;

/** Of the next holds, the orphans; and of those below \`$4\`, the ones that are under way. */
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
