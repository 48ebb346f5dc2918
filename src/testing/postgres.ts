import pg from "pg";
import { createCluster } from "./postgres-cluster.ts";

export { freePort } from "./postgres-cluster.ts";

/**
 * A real Postgres for tests and benchmarks: that of DATABASE_URL when it is set, else one started on
 * a free port in a temporary folder. `url` is the maintenance database's; `freshDatabase` makes
 * further ones. When the server cannot start, the error is one sentence without a stack, because the
 * cause is the machine.
 */
export async function startPostgres(settings: readonly string[] = []): Promise<{ url: string; dataDir?: string; stop(): Promise<void> }> {
  if (process.env.DATABASE_URL) return { url: process.env.DATABASE_URL, stop: async () => {} };
  try {
    const cluster = await createCluster();
    try {
      await cluster.start(["-c", "max_connections=200", "-c", "shared_buffers=256MB", ...settings]);
    } catch (error) {
      await cluster.remove();
      throw error;
    }
    return { url: cluster.url, dataDir: cluster.dataDir, stop: () => cluster.remove() };
  } catch (error) {
    const inOneSentence = new Error(error instanceof Error ? error.message : String(error));
    inOneSentence.stack = inOneSentence.message;
    throw inOneSentence;
  }
}

/**
 * Time zones of databases under test, one on either side of UTC and one with a half hour. UTC itself is left
 * out, because a wrong offset has no effect there.
 */
export const ZONES = ["America/Los_Angeles", "Asia/Kolkata"] as const;
export type Zone = (typeof ZONES)[number];

/** A zone by a hash of the name: the same in every run, and each for about half of the names. */
export function zoneOf(name: string): Zone {
  return ZONES[[...name].reduce((sum, character) => sum + character.charCodeAt(0), 0) % 2] ?? ZONES[0];
}

/** Creates an empty database on the server, with a time zone; `drop` removes it. */
export async function freshDatabase(serverUrl: string, zone: Zone | "UTC" = ZONES[0]): Promise<{ url: string; drop(): Promise<void> }> {
  const name = `quota_${process.pid}_${Math.random().toString(36).slice(2, 10)}`;
  await run(serverUrl, `CREATE DATABASE ${name}`);
  await run(serverUrl, `ALTER DATABASE ${name} SET timezone TO '${zone}'`);
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  return { url: url.href, drop: () => run(serverUrl, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`) };
}

async function run(url: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}
