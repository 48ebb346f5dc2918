import type { Tx } from "../platform/db.ts";
import { type Sql, toBigInt } from "../platform/sql.ts";
import type { Discrepancy } from "./verify.ts";

// Dates that an earlier version shifted on a Postgres whose time zone is not UTC: Prisma's adapter writes the time of
// day in UTC without an offset, and Postgres read it in its own zone. Two kinds are recognized from the data alone. A
// limit ends with a month in UTC, to the millisecond. And the id of a row that Prisma made has its time too: a date that
// differs from that by whole quarters of an hour, as time zones do, was shifted. Dates by the ledger's functions of the
// database are right in any zone.

export const MEND_DATES = "npm run ledger:mend-dates";

const LARGEST_SHIFT = "15 hours";

/** Tables whose rows Prisma makes, and the column with the time of the id. */
const DATED = [
  ["user", "created_at"],
  ["app", "created_at"],
  ["api_key", "created_at"],
  ["linked_user", "linked_at"],
  ["payment", "created_at"],
  ["webhook_endpoint", "created_at"],
  ["outbox_event", "created_at"],
] as const;

/** Seconds from the moment in a row's id to its date, and the whole quarters of an hour nearest to that, in seconds. */
const apart = (date: string) => `extract(epoch FROM ${date}) - (('x' || translate(left(id::text, 13), '-', ''))::bit(48)::bigint / 1000.0)`;
const dated = (table: string, date: string) =>
  `(SELECT id, apart, round(apart / 900) * 900 AS shift FROM (SELECT id, ${apart(date)} AS apart FROM "${table}" WHERE substr(id::text, 15, 1) = '7') r
    WHERE abs(apart) BETWEEN 840 AND 54000 AND abs(apart - round(apart / 900) * 900) < 60)`;

const endOfMonth = `date_trunc('month', limit_period_ends_at + interval '${LARGEST_SHIFT}', 'UTC')`;
const LIMITS = `limit_period_ends_at <> ${endOfMonth} AND limit_period_ends_at BETWEEN ${endOfMonth} - interval '${LARGEST_SHIFT}' AND ${endOfMonth} + interval '${LARGEST_SHIFT}'
  AND extract(epoch FROM limit_period_ends_at) % 900 = 0`;

/** The shifted dates, each with the command that corrects it. */
export async function shiftedDates(sql: Sql): Promise<Discrepancy[]> {
  const rows = await sql.query(shiftedStatement, []);
  return rows.map((row) => ({
    rule: String(row.rule),
    what: String(row.what),
    expected: String(row.expected),
    found: String(row.found),
    mend: `\`${MEND_DATES}\` puts it right`,
  }));
}

const shiftedStatement = {
  name: "ledger_shifted",
  text: `
    (SELECT 'a limit ends with a month (UTC)' AS rule, 'agreement of app ' || app_id || ' and user ' || user_id AS what, (${endOfMonth})::text AS expected, limit_period_ends_at::text AS found
    FROM agreement WHERE ${LIMITS} ORDER BY user_id, app_id LIMIT 20)
    UNION ALL
    ${DATED.map(
      ([table, date]) => `
    SELECT 'a row has the date that is in its id', count(*) || ' of ${table}', 'dated when made', 'dated ' || shift * interval '1 second' || ' off'
    FROM ${dated(table, date)} s GROUP BY shift`,
    ).join(" UNION ALL ")}`,
};

/**
 * Corrects what `shiftedDates` names, and nothing else: the ends of limits and the dates of rows. Returns how many it
 * changed. Idempotent, and safe beside running servers of this version.
 */
export async function mendDates(tx: Tx): Promise<number> {
  let mended = 0;
  for (const text of [
    `UPDATE agreement SET limit_period_ends_at = ${endOfMonth} WHERE ${LIMITS} RETURNING user_id`,
    ...DATED.map(
      ([table, date]) =>
        `UPDATE "${table}" t SET ${date} = ${date} - s.shift * interval '1 second' FROM ${dated(table, date)} s WHERE t.id = s.id RETURNING t.id`,
    ),
  ]) {
    const [row] = await tx.query({ name: "ledger_mend_dates", text: `WITH mended AS (${text}) SELECT count(*) AS count FROM mended` }, []);
    mended += Number(toBigInt(row?.count));
  }
  return mended;
}
