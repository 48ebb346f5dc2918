import { createHash } from "node:crypto";
import { chmod } from "node:fs/promises";
import path from "node:path";
import { PGlite } from "@electric-sql/pglite";
import { PrismaPg } from "@prisma/adapter-pg";
import type { SqlMigrationAwareDriverAdapterFactory } from "@prisma/driver-adapter-utils";
import pg from "pg";
import { PrismaPGlite } from "pglite-prisma-adapter";
import { env } from "#env";
import { type Prisma, PrismaClient } from "../../generated/prisma/client.ts";
import { markAway } from "./away.ts";
import { lockFolder } from "./folder-lock.ts";
import { log } from "./log.ts";
import { refuseUnfit } from "./pooler.ts";
import { processWide } from "./process-wide.ts";
import { type Row, readPlainArray, type Sql, type Statement } from "./sql.ts";

/**
 * The database of a process: an embedded PGlite, or any Postgres. Opened on
 * first use, never at import, so that a build needs no database.
 */
export type Database = {
  readonly kind: "embedded" | "postgres";
  readonly prisma: PrismaClient;
  /** Statements outside of a transaction, each its own commit. */
  readonly sql: Sql;
  /** Connections of the caller's own, one by default, for statements that must not queue behind others. */
  lane(options?: { connections?: number }): Sql;
  /** For work that may take long, such as proving the books: a connection of its own, without time limits. */
  withoutTimeLimit<T>(work: (sql: Sql) => Promise<T>): Promise<T>;
  /**
   * Throws an error whose message says what to do when this database is unfit: behind a pooler that
   * gives a client another session for each transaction, or with tables in another schema than `public`.
   * An embedded database is always fit.
   */
  check(): Promise<void>;
  /** For migrations only. */
  readonly adapterFactory: SqlMigrationAwareDriverAdapterFactory;
  /**
   * Runs `work` under a lock that all processes of this database share, on connections that are closed after it.
   * `runScript` takes any number of statements, as one transaction.
   */
  exclusively<T>(
    work: (adapterFactory: SqlMigrationAwareDriverAdapterFactory, runScript: (text: string) => Promise<unknown>) => Promise<T>,
  ): Promise<T>;
  close(): Promise<void>;
};

/** A transaction that both Prisma's verbs and ledger statements can join. */
export type Tx = Sql & { readonly prisma: Prisma.TransactionClient };

/** What `database()` opened. Tests put a database here, which `database()` then returns. */
export const theDatabase = processWide("database", (): { opened?: Promise<Database> | undefined } => ({}));

export function database(): Promise<Database> {
  theDatabase.opened ??= openDatabase({ url: env.DATABASE_URL, dataDir: path.join(env.QUOTA_DATA_DIR, "db") });
  return theDatabase.opened;
}

export async function closeDatabase(): Promise<void> {
  const open = theDatabase.opened;
  theDatabase.opened = undefined;
  await (await open)?.close();
}

export async function prisma(): Promise<PrismaClient> {
  return (await database()).prisma;
}

/** Runs `work` in one transaction that commits when `work` resolves and rolls back when it throws; it has 30 seconds. */
export async function transaction<T>(work: (tx: Tx) => Promise<T>, db?: Database): Promise<T> {
  const { prisma } = db ?? (await database());
  return prisma.$transaction((inner) => work(asTx(inner)), { maxWait: 10_000, timeout: 30_000 });
}

function asTx(inner: Prisma.TransactionClient): Tx {
  return {
    prisma: inner,
    query: (statement, parameters) => inner.$queryRawUnsafe<Row[]>(statement.text, ...parameters),
  };
}

/**
 * Opens a database. `url`: a Postgres. Otherwise `dataDir`: an embedded one in
 * that folder, or in memory when the folder is undefined.
 */
export async function openDatabase(where: { url?: string | undefined; dataDir?: string | undefined }): Promise<Database> {
  return where.url === undefined ? openEmbedded(where.dataDir) : openPostgres(where.url);
}

async function openEmbedded(dataDir: string | undefined): Promise<Database> {
  const lock = dataDir === undefined ? null : await lockFolder(dataDir);
  if (dataDir !== undefined) await restrictToOwner(dataDir);
  const pglite = await PGlite.create(dataDir === undefined ? {} : { dataDir }).catch((error: unknown) => {
    lock?.release();
    throw error;
  });
  if (lock !== null) {
    // Every statement to PGlite goes through this method.
    const answer = pglite.execProtocolRawSync.bind(pglite);
    pglite.execProtocolRawSync = (message) => {
      lock.confirm();
      return answer(message);
    };
  }
  const adapterFactory = new PrismaPGlite(pglite);
  const client = new PrismaClient({ adapter: adapterFactory });
  const sql: Sql = {
    query: async (statement, parameters) => (await pglite.query<Row>(statement.text, [...parameters])).rows,
  };
  return {
    kind: "embedded",
    prisma: client,
    sql,
    lane: () => sql,
    withoutTimeLimit: (work) => work(sql),
    check: async () => {},
    adapterFactory,
    exclusively: (work) => work(adapterFactory, (text) => pglite.exec(text)),
    close: async () => {
      await client.$disconnect();
      if (!pglite.closed) await pglite.close();
      lock?.release();
    },
  };
}

/**
 * PGlite creates files that every user of the machine may write, and no server process checks access
 * to them. So the folder gets mode 0700, which Postgres requires of its data directory.
 */
async function restrictToOwner(dataDir: string): Promise<void> {
  await chmod(dataDir, 0o700).catch((error: unknown) => {
    log.warn("the folder of the embedded database could not be closed to other users of this machine", { dataDir, error });
  });
}

async function openPostgres(url: string): Promise<Database> {
  const pool = postgresPool(url, env.DATABASE_POOL_SIZE, [
    "SET statement_timeout = 30000",
    // JIT compilation of a report's plan takes longer than running it.
    "SET jit = off",
    // A process that stops in the middle of a transaction must not keep its locks.
    "SET idle_in_transaction_session_timeout = 3000",
    // A statement that waits for another session's lock must not occupy its connection for long.
    "SET lock_timeout = 10000",
  ]);
  const adapterFactory = new PrismaPg(pool, {
    // Postgres plans an unnamed statement each time, which costs more than twice the CPU.
    statementNameGenerator: (query) => statementName(query.sql),
  });
  const client = new PrismaClient({ adapter: adapterFactory });
  const lanes: pg.Pool[] = [];
  return {
    kind: "postgres",
    prisma: client,
    sql: poolSql(pool),
    lane: ({ connections = 1 } = {}) => {
      // With one connection a lane's statements run one after the other. A pool even of
      // one, because a pool replaces a connection that broke.
      const lane = postgresPool(url, connections, [
        "SET statement_timeout = 15000",
        // A statement that waits for an account's lock here delays all statements behind it in the lane.
        "SET lock_timeout = 2000",
      ]);
      lanes.push(lane);
      return poolSql(lane);
    },
    withoutTimeLimit: async (work) => {
      const own = postgresPool(url, 1, ["SET statement_timeout = 0"], 0);
      try {
        return await work(poolSql(own));
      } finally {
        await own.end();
      }
    },
    check: async () => {
      const two = postgresPool(url, 2, [], 10_000);
      try {
        await refuseUnfit(two);
      } finally {
        await two.end();
      }
    },
    adapterFactory,
    exclusively: (work) =>
      withAdvisoryLock(url, async () => {
        // Prisma's migration engine takes an advisory lock for the connection's lifetime and never releases it.
        const ownPool = postgresPool(url, 1, []);
        try {
          return await work(new PrismaPg(ownPool), (text) => ownPool.query(text));
        } finally {
          await ownPool.end();
        }
      }),
    close: async () => {
      await client.$disconnect();
      await Promise.all([pool, ...lanes].map((each) => each.end()));
    },
  };
}

function postgresPool(url: string, max: number, settings: readonly string[], queryTimeoutMs = 40_000): pg.Pool {
  const pool = new pg.Pool(poolConfig(url, max, settings, queryTimeoutMs));
  // The pool replaces an idle connection that broke; without a listener its error would end the process.
  pool.on("error", () => {});
  return markConnectionErrors(pool);
}

/** Marks the errors of a pool's connections, so that `isDatabaseAway` recognizes them. */
function markConnectionErrors(pool: pg.Pool): pg.Pool {
  const connect = pool.connect.bind(pool) as (answer?: Connected) => Promise<pg.PoolClient>;
  // pool.query calls pool.connect too, with a callback.
  pool.connect = ((answer?: Connected) =>
    answer === undefined
      ? connect().catch((error: unknown) => {
          throw markAway(error);
        })
      : void connect((error, client, release) =>
          answer(error === undefined || error === null ? error : markAway(error), client, release),
        )) as typeof pool.connect;
  // The client emits this before it rejects the statement under way, with the same error object.
  pool.on("connect", (client) => void client.on("error", markAway));
  return pool;
}

type Connected = (error: Error | undefined, client: pg.PoolClient | undefined, release: (release?: unknown) => void) => void;

function poolConfig(url: string, max: number, settings: readonly string[], queryTimeoutMs: number): pg.PoolConfig {
  // Prisma's adapter writes times without an offset and reads every offset as +00:00, so a session in
  // another time zone would shift them. Poolers refuse the startup parameter `options`, so the zone is SET.
  // The ledger's statements read rows again after they got a lock, which needs read committed: under a
  // stricter isolation they would fail with a serialization error.
  const first = ["SET TIME ZONE 'UTC'", "SET default_transaction_isolation = 'read committed'", ...settings].join(";");
  return {
    connectionString: url,
    max,
    connectionTimeoutMillis: 10_000,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    // For a server that went away without closing the connection; all other waits end by the server's timeouts.
    ...(queryTimeoutMs > 0 ? { query_timeout: queryTimeoutMs } : {}),
    application_name: "quota",
    // The pool awaits this before it hands out the connection.
    onConnect: async (connection) => void (await connection.query(first)),
  };
}

function poolSql(pool: pg.Pool): Sql {
  return {
    query: async (statement: Statement, parameters: readonly unknown[]) =>
      (
        await pool.query<Row>({
          name: statementName(statement.text, statement.name),
          text: statement.text,
          values: parameters as unknown[],
          ...(statement.plainArrays === true ? { types: PLAIN_ARRAYS } : {}),
        })
      ).rows,
  };
}

const PLAIN_ARRAYS = { getTypeParser: () => readPlainArray } as unknown as pg.CustomTypesConfig;

const names = new Map<string, string>();
/**
 * A prepared statement's name: a hash of its text, so that a name stands for the same text in every
 * session, process and version behind a pooler. At most 63 bytes, Postgres's limit. Empty, which is an
 * unnamed statement, once there are 1,000 names.
 */
export function statementName(sql: string, label = "prisma"): string {
  let name = names.get(sql);
  if (name === undefined) {
    // Prisma makes texts with a varying number of placeholders; each would keep memory here and in the server.
    if (names.size >= 1_000) return "";
    name = `${label.slice(0, 40)}_${createHash("sha256").update(sql).digest("hex").slice(0, 20)}`;
    names.set(sql, name);
  }
  return name;
}

const MIGRATION_LOCK = 7_046_031;

async function withAdvisoryLock<T>(url: string, work: () => Promise<T>): Promise<T> {
  // Without a query timeout, because another process's migration may hold the lock for long.
  const pool = postgresPool(url, 1, [], 0);
  const connection = await pool.connect().catch(async (error: unknown) => {
    await pool.end();
    throw error;
  });
  try {
    await connection.query("SELECT pg_advisory_lock($1)", [MIGRATION_LOCK]);
    return await work();
  } finally {
    // Closing the connection releases the lock.
    connection.release(true);
    await pool.end();
  }
}
