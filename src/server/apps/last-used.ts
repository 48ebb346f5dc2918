import { processWide } from "../platform/process-wide.ts";
import { plainArray, type Sql } from "../platform/sql.ts";

/**
 * When keys were last used. Kept in memory, because a write for each request would cost more than
 * the information is worth, and written to the database by a job (every 20 seconds). A crash loses
 * what was noted since.
 */

const uses = processWide("key uses", () => new Map<string, number>());

export function noteUse(apiKeyId: string): void {
  uses.set(apiKeyId, Date.now());
}

/** Writes the noted times to the database. Of several processes' times the latest stays. */
export async function writeUses(sql: Sql): Promise<void> {
  if (uses.size === 0) return;
  const noted = [...uses];
  uses.clear();
  try {
    await sql.query(writeStatement, [plainArray(noted.map(([id]) => id)), plainArray(noted.map(([, at]) => new Date(at).toISOString()))]);
  } catch (error) {
    // Noted again for the next call, unless a later use was noted while the statement ran.
    for (const [id, at] of noted) if (!uses.has(id)) uses.set(id, at);
    throw error;
  }
}

const writeStatement = {
  name: "apps_write_uses",
  text: `
    WITH noted AS (SELECT * FROM unnest($1::uuid[], $2::timestamptz[]) n(id, at)),
    -- In the order of ids, so that two processes cannot deadlock.
    lk AS MATERIALIZED (SELECT k.id FROM api_key k WHERE k.id = ANY (ARRAY(SELECT id FROM noted)) ORDER BY k.id FOR NO KEY UPDATE OF k)
    UPDATE api_key k SET last_used_at = greatest(k.last_used_at, n.at) FROM noted n
    WHERE k.id = n.id AND (SELECT count(*) FROM lk) >= 0`,
};
