import { randomUUID } from "node:crypto";
import type { Row, Sql } from "./sql.ts";

/**
 * Work that one of all server processes does, now and then. The row of `setting` that says when it is
 * due is claimed by one statement, so any number of processes may look at any time. The claim is a
 * lease: when its process dies, another process may claim the work after the lease has ended.
 */
export type Turn<Memory> = {
  /** What the last turn stored with `end`; null when nothing was stored. */
  memory: Memory | null;
  /** The database's clock. */
  now: Date;
  /** Makes the lease last `ms` from now, in place of what is left. False when another process has claimed the work. */
  keep(ms: number): Promise<boolean>;
  /** Ends the turn: the next one is due after `ms`. Does nothing when another process has claimed the work. */
  end(dueInMs: number, memory?: Memory): Promise<void>;
};

/**
 * Claims the work for `keepMs` when it is due; null when it is not, or when another process has the
 * lease. `longestMs`: the longest that any turn is ever put off. A due time further away was written
 * while the database's clock was wrong, and counts as due.
 */
export async function claimTurn<Memory>(
  sql: Sql,
  name: string,
  options: { keepMs: number; longestMs: number },
): Promise<Turn<Memory> | null> {
  const by = randomUUID();
  const key = `turn_${name}`;
  const [row] = await sql.query(claimStatement, [key, by, options.keepMs, Math.max(options.keepMs, options.longestMs)]);
  if (row === undefined) return null;
  return {
    memory: typeof row.memory === "string" ? (JSON.parse(row.memory) as Memory) : null,
    now: new Date(Number(row.now)),
    keep: async (ms) => mine(await sql.query(keepStatement, [key, by, ms])),
    end: async (dueInMs, memory) => {
      await sql.query(endStatement, [key, by, dueInMs, memory === undefined ? null : JSON.stringify(memory)]);
    },
  };
}

const mine = (rows: readonly Row[]) => rows.length > 0;

const clock = `(extract(epoch FROM now()) * 1000)::bigint`;

const claimStatement = {
  name: "turn_claim",
  text: `
    INSERT INTO setting AS s (key, value) VALUES ($1::text, jsonb_build_object('by', $2::text, 'due', ${clock} + $3::bigint))
    ON CONFLICT (key) DO UPDATE SET value = s.value || excluded.value
      WHERE (s.value->>'due')::bigint <= ${clock} OR (s.value->>'due')::bigint > ${clock} + $4::bigint
    RETURNING (s.value->'memory')::text AS memory, ${clock}::text AS now`,
};
const keepStatement = {
  name: "turn_keep",
  text: `
    UPDATE setting SET value = value || jsonb_build_object('due', ${clock} + $3::bigint)
    WHERE key = $1::text AND value->>'by' = $2::text RETURNING key`,
};
const endStatement = {
  name: "turn_end",
  text: `
    UPDATE setting SET value = jsonb_build_object('due', ${clock} + $3::bigint, 'memory', coalesce($4::text::jsonb, value->'memory'))
    WHERE key = $1::text AND value->>'by' = $2::text`,
};
