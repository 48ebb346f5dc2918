import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { Sql } from "../src/server/platform/sql.ts";

/**
 * The files with the database's functions, each in the room whose rules it states. They are applied in this order: a
 * function comes after the functions that its statements name.
 */
export const SOURCES = [
  "ledger/sql/arithmetic.sql",
  "connect/sql/payers.sql",
  "webhooks/sql/settlement-events.sql",
  "ledger/sql/locks.sql",
  "ledger/sql/settle.sql",
  "ledger/sql/reserve.sql",
  "ledger/sql/post.sql",
  "ledger/sql/grow.sql",
  "ledger/sql/partitions.sql",
  "ledger/sql/version-before.sql",
] as const;

/**
 * Increased with every change to a source, so that a server recognizes a database whose functions are newer than its
 * own. `checksum` is that of all sources at this version; after a change a test prints the values to write here.
 */
export const SOURCES_VERSION = { number: 4, checksum: "53503904568c1389c009940d7b6d2b71463e54ba0e2a9f8603af6ae9a37e072a" };

export type Source = { name: string; text: string; checksum: string };

export async function readSources(): Promise<Source[]> {
  return Promise.all(
    SOURCES.map(async (name) => {
      const text = await readFile(fileURLToPath(new URL(`../src/server/${name}`, import.meta.url)), "utf8");
      return { name, text, checksum: checksumOf(text) };
    }),
  );
}

export function checksumOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** Throws when the database has functions of a newer version than `version`. */
export async function refuseNewerSources(sql: Sql, version = SOURCES_VERSION.number): Promise<void> {
  const [found] = await sql.query(tableStatement, []);
  if (found?.exists !== true) return;
  const [newest] = await sql.query(versionStatement, []);
  if (Number(newest?.version ?? 0) > version)
    throw new Error("The functions in this database are of a newer version of Quota. Start that version instead.");
}

/**
 * One script, and so one transaction, that updates the database's functions to these sources; null when they are up to
 * date. It applies the sources whose checksum differs from the stored one, and stores the new checksums.
 */
export async function sourcesScript(
  sql: Sql,
  sources: readonly Source[],
  version = SOURCES_VERSION.number,
): Promise<{ names: string[]; text: string } | null> {
  const rows = await sql.query(appliedStatement, []);
  const applied = new Map(rows.map((row) => [String(row.name), row]));
  const changed = sources.filter(({ name, checksum }) => applied.get(name)?.checksum !== checksum);
  const isNoted = sources.every(({ name }) => Number(applied.get(name)?.version) === version);
  if (changed.length === 0 && isNoted) return null;
  const notes = sources.map(
    ({ name, checksum }) => `INSERT INTO sql_source (name, checksum, version) VALUES ('${name}', '${checksum}', ${version})
      ON CONFLICT (name) DO UPDATE SET version = excluded.version, checksum = excluded.checksum,
        applied_at = CASE WHEN sql_source.checksum = excluded.checksum THEN sql_source.applied_at ELSE now() END;`,
  );
  return { names: changed.map(({ name }) => name), text: [...changed.map(({ text }) => text), ...notes].join("\n") };
}

const tableStatement = { name: "sources_table", text: `SELECT to_regclass('public.sql_source') IS NOT NULL AS exists` };
const versionStatement = { name: "sources_version", text: `SELECT max(version) AS version FROM sql_source` };
const appliedStatement = { name: "sources_applied", text: `SELECT name, checksum, version FROM sql_source` };
