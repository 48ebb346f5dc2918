import { type Database, type Tx, transaction } from "../platform/db.ts";
import { firstIdAt } from "../platform/ids.ts";
import type { Row, Sql, Statement } from "../platform/sql.ts";
import { longestRequestMs } from "./moments.ts";

/**
 * Sums of usage by hour, and by user and day or month, so that a report reads hundreds of rows
 * instead of a million requests. They are exact at any time: every settlement before
 * `usage_fold.until` is in them, and readers add the later ones from `usage` itself.
 *
 * A settlement's `created_at` is the start of its statement, and it is visible after the commit. No
 * statement that settles runs longer than 30 s (`statement_timeout` in platform/db.ts), so no row
 * becomes visible with a `created_at` older than this.
 */
const LAG_MS = 60_000;

/** The time span folded by one statement: short, so that no statement runs long; longer where there are few rows. */
const SLICE_MS = 10 * 60_000;
const LONGEST_SLICE_MS = 24 * 60 * 60_000;
const FEW_ROWS = 20_000;

/**
 * Adds settlements since the last call to the sums, slice by slice. Safe in several processes at
 * once and to interrupt at any point: a slice is added in the transaction that moves `until` past it.
 * Ends early when `signal` is aborted and after `slices`; the next call continues from there. Throws, and
 * adds nothing, when `until` does not advance. `upTo`: for tests that know all settlements before it.
 */
export async function foldUsage(db: Database, options: { upTo?: Date; slices?: number; signal?: AbortSignal } = {}): Promise<void> {
  // The database's clock, which also sets `created_at`.
  const [clock] = await db.sql.query(clockStatement, []);
  const end = options.upTo ?? new Date(momentOf(clock?.now).getTime() - LAG_MS);
  let sliceMs = SLICE_MS;
  for (let slice = 0; slice < (options.slices ?? Number.POSITIVE_INFINITY) && options.signal?.aborted !== true; slice++) {
    const folded = await transaction((tx) => foldSlice(tx, end, sliceMs), db);
    if (folded === null) return;
    sliceMs = folded < FEW_ROWS ? Math.min(sliceMs * 4, LONGEST_SLICE_MS) : SLICE_MS;
  }
}

/** Folds one slice; returns the number of its requests, null when nothing is left to fold. */
async function foldSlice(tx: Tx, end: Date, sliceMs: number): Promise<number | null> {
  // A statement before the one that reads, so that a second process waits here and then reads what the first one committed.
  const [there] = await tx.query(lockStatement, []);
  const from = momentOf(there?.until);
  if (from >= end) return null;
  let until = new Date(Math.min(from.getTime() + sliceMs, end.getTime()));
  if (from.getTime() === 0) {
    // Nothing was folded yet: begins with the oldest request.
    const [row] = await tx.query(firstStatement, []);
    const first = row?.first === null ? end.getTime() : momentOf(row?.first).getTime();
    until = new Date(Math.min(first + sliceMs, end.getTime()));
  }
  const [slice] = await tx.query(foldStatement, [from.toISOString(), until.toISOString()]);
  const tailId = firstIdAt(new Date(Math.max(0, until.getTime() - longestRequestMs())));
  const [moved] = await tx.query(moveStatement, [until.toISOString(), tailId, from.toISOString()]);
  // `until` must still be the value that was read, to the millisecond. Otherwise the slice may have been added before, or a gap would be left.
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

/** The columns that are summed, from rows of `usage`; for the folded sums and the live ones. */
export const rowSums = `
  (outcome IN ('completed', 'interrupted'))::int AS requests, (outcome IN ('failed', 'swept'))::int AS failed,
  prompt_tokens * (outcome IN ('completed', 'interrupted'))::int AS prompt_tokens,
  completion_tokens * (outcome IN ('completed', 'interrupted'))::int AS completion_tokens, base, markup`;
const added = ["requests", "failed", "prompt_tokens", "completion_tokens", "base", "markup"];
const sums = added.map((column) => `sum(${column})`).join(", ");
const adding = (table: string) => added.map((column) => `${column} = ${table}.${column} + excluded.${column}`).join(", ");

/** Stands for "no API key" in the sums: a request with a user's access token. */
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
 * Rebuilds the sums from `usage`. Only needed after a change to the database by hand or after its
 * clock was set back. Reports stay exact while it runs, and are slower.
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
 * Runs a statement over the sums and the live rest. Before its own parameters the statement gets
 * the moment up to which sums are complete ($1) and the id below which no later request began
 * ($2), as values, so that the planner can estimate how small the rest is. Each row has the `until`
 * that the statement itself read: when another fold moved it in between, the statement runs again.
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

/** A timestamp, as any of the drivers returns it. */
export function momentOf(value: unknown): Date {
  if (value instanceof Date) return value;
  if (typeof value === "string") return new Date(value);
  throw new TypeError(`not a moment from the database: ${typeof value}`);
}
