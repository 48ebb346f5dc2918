import { type Database, type Tx, transaction } from "../platform/db.ts";
import { firstIdAt } from "../platform/ids.ts";
import type { Row, Sql, Statement } from "../platform/sql.ts";
import { longestRequestMs } from "./moments.ts";

/**
 * Sums of usage by hour, and by user and day and month, so that a report reads hundreds of rows
 * where there were a million requests. They are exact at any moment: everything
 * settled before `usage_fold.until` is in them, and readers sum up the rest live.
 */

/**
 * A settlement carries the moment its statement began (`created_at`) and is seen when
 * it commits. No statement that settles runs longer than 30 s (platform/db.ts cuts it
 * off), so nothing arrives with a `created_at` that is older than this.
 */
const LAG_MS = 60_000;

/** How much is folded at once: little, so that no statement takes long; more where there is little to fold. */
const SLICE_MS = 10 * 60_000;
const LONGEST_SLICE_MS = 24 * 60 * 60_000;
const FEW_ROWS = 20_000;

/**
 * Adds what was settled since the last time to the sums, slice by slice. Safe to run
 * in several processes at once and to stop anywhere: a slice is added in the
 * transaction that moves `until` past it. It ends early when `signal` says so, and after
 * `slices`; whoever comes next goes on from there. Throws, and adds nothing, when `until`
 * does not come on. `upTo`: for tests, which know what will come.
 */
export async function foldUsage(db: Database, options: { upTo?: Date; slices?: number; signal?: AbortSignal } = {}): Promise<void> {
  // By the clock that settlements are dated by.
  const [clock] = await db.sql.query(clockStatement, []);
  const end = options.upTo ?? new Date(momentOf(clock?.now).getTime() - LAG_MS);
  let sliceMs = SLICE_MS;
  for (let slice = 0; slice < (options.slices ?? Number.POSITIVE_INFINITY) && options.signal?.aborted !== true; slice++) {
    const folded = await transaction((tx) => foldSlice(tx, end, sliceMs), db);
    if (folded === null) return;
    sliceMs = folded < FEW_ROWS ? Math.min(sliceMs * 4, LONGEST_SLICE_MS) : SLICE_MS;
  }
}

/** How many requests it added; null when there is nothing left to do. */
async function foldSlice(tx: Tx, end: Date, sliceMs: number): Promise<number | null> {
  // Locked in a statement before the one that reads, so that the second of two processes reads what the first wrote.
  const [there] = await tx.query(lockStatement, []);
  const from = momentOf(there?.until);
  if (from >= end) return null;
  let until = new Date(Math.min(from.getTime() + sliceMs, end.getTime()));
  if (from.getTime() === 0) {
    // Nothing was ever folded: begin with the first request there is.
    const [row] = await tx.query(firstStatement, []);
    const first = row?.first === null ? end.getTime() : momentOf(row?.first).getTime();
    until = new Date(Math.min(first + sliceMs, end.getTime()));
  }
  const [slice] = await tx.query(foldStatement, [from.toISOString(), until.toISOString()]);
  const tailId = firstIdAt(new Date(Math.max(0, until.getTime() - longestRequestMs())));
  const [moved] = await tx.query(moveStatement, [until.toISOString(), tailId, from.toISOString()]);
  // What was read has to be what is there, to the millisecond: else this slice was added before, or requests before it were left out.
  if (until <= from || moved === undefined) throw new Error(`the sums of usage do not come on from ${from.toISOString()}`);
  return Number(slice?.folded ?? 0);
}

const clockStatement = { name: "usage_fold_clock", text: `SELECT clock_timestamp() AS now` };
const lockStatement = { name: "usage_fold_lock", text: `SELECT until FROM usage_fold WHERE id = 1 FOR UPDATE` };
const firstStatement = { name: "usage_fold_first", text: `SELECT min(created_at) AS first FROM usage` };
const moveStatement = {
  name: "usage_fold_move",
  text: `UPDATE usage_fold SET until = $1::timestamptz, tail_id = $2::uuid WHERE id = 1 AND until = $3::timestamptz RETURNING id`,
};

/** What is summed of the rows of `usage`, for both kinds of sums and for the rest that is summed live. */
export const rowSums = `
  (outcome IN ('completed', 'interrupted'))::int AS requests, (outcome IN ('failed', 'swept'))::int AS failed,
  prompt_tokens * (outcome IN ('completed', 'interrupted'))::int AS prompt_tokens,
  completion_tokens * (outcome IN ('completed', 'interrupted'))::int AS completion_tokens, base, markup`;
const added = ["requests", "failed", "prompt_tokens", "completion_tokens", "base", "markup"];
const sums = added.map((column) => `sum(${column})`).join(", ");
const adding = (table: string) => added.map((column) => `${column} = ${table}.${column} + excluded.${column}`).join(", ");

/** Stands for "no API key" in the sums: a request that came with a user's access token. */
export const NO_API_KEY = "00000000-0000-0000-0000-000000000000";

const foldStatement: Statement = {
  name: "usage_fold",
  text: `
    WITH slice AS MATERIALIZED (
      SELECT app_id, created_at, billing_mode = 'test' AS sandbox, model, coalesce(api_key_id, '${NO_API_KEY}'::uuid) AS api_key_id,
        coalesce(external_user_id, '') AS external_user_id, wallet_id, ${rowSums}
      FROM usage WHERE created_at >= $1::timestamptz AND created_at < $2::timestamptz),
    hours AS (
      INSERT INTO usage_hour (app_id, hour, sandbox, model, api_key_id, ${added.join(", ")})
      SELECT app_id, date_trunc('hour', created_at, 'UTC'), sandbox, model, api_key_id, ${sums} FROM slice GROUP BY 1, 2, 3, 4, 5
      ON CONFLICT (app_id, sandbox, hour, model, api_key_id) DO UPDATE SET ${adding("usage_hour")}),
    days AS (
      INSERT INTO usage_user_day (app_id, day, sandbox, external_user_id, wallet_id, ${added.join(", ")}, last_at)
      SELECT app_id, date_trunc('day', created_at, 'UTC'), sandbox, external_user_id, wallet_id, ${sums}, max(created_at) FROM slice GROUP BY 1, 2, 3, 4, 5
      ON CONFLICT (app_id, sandbox, day, external_user_id, wallet_id) DO UPDATE SET ${adding("usage_user_day")},
        last_at = greatest(usage_user_day.last_at, excluded.last_at)),
    months AS (
      INSERT INTO usage_user_month (app_id, month, sandbox, external_user_id, ${added.join(", ")}, last_at)
      SELECT app_id, date_trunc('month', created_at, 'UTC'), sandbox, external_user_id, ${sums}, max(created_at) FROM slice GROUP BY 1, 2, 3, 4
      ON CONFLICT (app_id, sandbox, month, external_user_id) DO UPDATE SET ${adding("usage_user_month")},
        last_at = greatest(usage_user_month.last_at, excluded.last_at))
    SELECT count(*)::int AS folded FROM slice`,
};

/**
 * Makes the sums anew from `usage`. Only needed after a database was changed by hand,
 * or its clock was set back; reports stay exact meanwhile, and are slower.
 */
export async function refoldUsage(db: Database): Promise<void> {
  await transaction(async (tx) => {
    const [there] = await tx.query(lockStatement, []);
    await tx.query({ name: "usage_unfold", text: `TRUNCATE usage_hour, usage_user_day, usage_user_month` }, []);
    await tx.query(moveStatement, [new Date(0).toISOString(), NO_API_KEY, momentOf(there?.until).toISOString()]);
  }, db);
  await foldUsage(db);
}

/**
 * Runs a statement over the sums and the rest. It gets, in front of its own parameters,
 * the moment up to which sums are complete ($1) and the id below which nothing newer
 * began ($2); as values, so that the planner knows how little the rest is. Each row says
 * in `until` what the statement itself saw: when more was folded in between, it runs again.
 */
export async function overSums(sql: Sql, statement: Statement, parameters: readonly unknown[]): Promise<Row[]> {
  for (let attempt = 1; ; attempt++) {
    const [fold] = await sql.query(readStatement, []);
    const until = momentOf(fold?.until);
    const rows = await sql.query(statement, [until.toISOString(), String(fold?.tail_id), ...parameters]);
    if (rows.every((row) => momentOf(row.until).getTime() === until.getTime())) return rows;
    if (attempt === 10) throw new Error("usage was folded ten times while a report was read");
  }
}

const readStatement = { name: "usage_fold_read", text: `SELECT until, tail_id::text FROM usage_fold WHERE id = 1` };

/** A time stamp, however the driver hands it over. */
export function momentOf(value: unknown): Date {
  if (value instanceof Date) return value;
  if (typeof value === "string") return new Date(value);
  throw new TypeError(`not a moment from the database: ${typeof value}`);
}
