import type pg from "pg";

/**
 * Throws an error whose message says what to do when connections of this kind are unfit. Takes a
 * pool of two connections with the same settings as all others.
 */
export async function refuseUnfit(two: pg.Pool): Promise<void> {
  const one = await two.connect();
  try {
    await refuseOtherSchema(one);
    if ((await backendOf(one)) === keyOf(one)) return;
    // A pooler made up the key of this connection. Each client needs a session of its own.
    const other = await two.connect().catch((error: unknown) => {
      throw new Error(`the pooler in DATABASE_URL let in one connection and not a second one: ${messageOf(error)}`);
    });
    try {
      if (await areShared(one, other)) throw new Error(SHARED);
    } finally {
      other.release(true);
    }
  } finally {
    one.release(true);
  }
}

const SHARED =
  "DATABASE_URL leads to a pooler in transaction or statement mode, which takes away what a connection has set (time zone, time limits) and prepared; give the address of Postgres itself, or of a pooler in session mode (pool_mode = session in PgBouncer).";

/**
 * Whether, while both connections are open, one backend ever serves both of them or two backends
 * serve one. In session mode neither happens; in transaction mode one of them does, at once or
 * when the backends are assigned in another order.
 */
async function areShared(one: pg.PoolClient, other: pg.PoolClient): Promise<boolean> {
  const [ones, others] = [new Set<number>(), new Set<number>()];
  const look = async (connection: pg.PoolClient) => void (connection === one ? ones : others).add(await backendOf(connection));
  const differ = () => ones.size === 1 && others.size === 1 && [...ones].every((pid) => !others.has(pid));
  for (let round = 0; round < 10; round++) {
    await look(one);
    await look(other);
    if (!differ()) return true;
  }
  for (let round = 0; round < 10; round++) {
    // While a transaction binds `one` to its backend, `other` gets a different backend, and after COMMIT perhaps the first.
    await one.query("BEGIN");
    await look(one);
    await look(other);
    await one.query("COMMIT");
    await look(other);
    await look(one);
    if (!differ()) return true;
  }
  return false;
}

/** Statements name tables without their schema in some places and with the schema `public` in others. */
async function refuseOtherSchema(connection: pg.PoolClient): Promise<void> {
  const { rows } = await connection.query<{ schema: string | null }>("SELECT current_schema() AS schema");
  const schema = rows[0]?.schema ?? null;
  if (schema === "public") return;
  throw new Error(
    `new tables would come into ${schema === null ? "no schema" : `the schema ${schema}`} of this database, and Quota keeps its own in public; set the role's search_path to public, or make a database for Quota alone.`,
  );
}

async function backendOf(connection: pg.PoolClient): Promise<number> {
  const { rows } = await connection.query<{ pid: number }>("SELECT pg_backend_pid() AS pid");
  return Number(rows[0]?.pid);
}

/** The backend's process id in the key that the connection got when it began (BackendKeyData). */
function keyOf(connection: pg.PoolClient): number | null {
  return (connection as unknown as { processID: number | null }).processID;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
