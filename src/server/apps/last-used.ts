import { processWide } from "../platform/process-wide.ts";
import { plainArray, type Sql } from "../platform/sql.ts";

/**
 * When keys were last used. Noted in memory, because a write for each request would
 * cost more than it tells, and written down every now and then. What a crash loses
 * is younger than that.
 */

const uses = processWide("key uses", () => new Map<string, number>());

export function noteUse(apiKeyId: string): void {
  uses.set(apiKeyId, Date.now());
}

/** Writes down what this process has noted. Of several processes the latest use counts. */
export async function writeUses(sql: Sql): Promise<void> {
  if (uses.size === 0) return;
  const noted = [...uses];
  uses.clear();
  try {
    await sql.query(writeStatement, [plainArray(noted.map(([id]) => id)), plainArray(noted.map(([, at]) => new Date(at).toISOString()))]);
  } catch (error) {
    // Kept for the next time, unless something later was noted meanwhile.
    for (const [id, at] of noted) if (!uses.has(id)) uses.set(id, at);
    throw error;
  }
}

const writeStatement = {
  name: "apps_write_uses",
  text: `
    WITH noted AS (SELECT * FROM unnest($1::uuid[], $2::timestamptz[]) n(id, at)),
    -- In id order, so that two processes can't wait for each other.
    lk AS MATERIALIZED (SELECT k.id FROM api_key k WHERE k.id = ANY (ARRAY(SELECT id FROM noted)) ORDER BY k.id FOR NO KEY UPDATE OF k)
    UPDATE api_key k SET last_used_at = greatest(k.last_used_at, n.at) FROM noted n
    WHERE k.id = n.id AND (SELECT count(*) FROM lk) >= 0`,
};
