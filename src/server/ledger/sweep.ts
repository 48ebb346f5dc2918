import type { Sql } from "../platform/sql.ts";
import { settle, unused } from "./hold.ts";

/**
 * Returns the credits of holds that nobody will resolve any more, because the
 * server that made them died. `all` also takes holds that have not expired: only
 * for an owner who knows that no request is under way, such as an embedded
 * database that has just been opened. Returns how many holds it released.
 */
export async function sweepHolds(sql: Sql, options: { all?: boolean; after?: string } = {}): Promise<number> {
  let swept = 0;
  let after = options.after ?? FIRST_ID;
  for (;;) {
    const rows = await sql.query(orphansStatement, [after, options.all ?? false]);
    if (rows.length === 0) return swept;
    const verdicts = await settle(
      sql,
      rows.map((row) => unused(String(row.id), "swept", "sweeper")),
    );
    swept += verdicts.filter((verdict) => verdict.kind === "settled").length;
    after = String(rows.at(-1)?.id);
  }
}

/** Every id of before this moment is below it (UUIDv7 begins with the time in milliseconds). */
export function firstIdAt(timeMs: number): string {
  const hex = Math.max(0, Math.floor(timeMs)).toString(16).padStart(12, "0");
  return `${hex.slice(0, 8)}-${hex.slice(8)}-0000-0000-000000000000`;
}

const FIRST_ID = firstIdAt(0);

const orphansStatement = {
  name: "ledger_orphans",
  text: `
    SELECT h.id FROM hold h
    WHERE h.id > $1::uuid AND ($2::bool OR h.expires_at < now()) AND NOT EXISTS (SELECT 1 FROM usage u WHERE u.id = h.id)
    ORDER BY h.id LIMIT 100`,
};
