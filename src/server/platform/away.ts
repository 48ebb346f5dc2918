import { processWide } from "./process-wide.ts";

/**
 * Whether something failed because the database is away: it can't be reached, takes no more
 * connections, went down in the middle of a statement, or did not answer in time. Nothing is
 * wrong with the request then, and the answer is 503 with Retry-After at every door.
 */

/** Seconds after which it is worth asking again; a restart of Postgres takes about as long. */
export const RETRY_AFTER_SECONDS = 5;

const MARK = Symbol.for("quota.databaseAway");
const noted = processWide("database away", () => ({ at: 0 }));

/** Marks an error of the connection to the database; what it says in itself, such as ECONNRESET, could be about anything. */
export function markAway<E>(error: E): E {
  noted.at = Date.now();
  if (typeof error === "object" && error !== null && !(MARK in error)) Object.defineProperty(error, MARK, { value: true });
  return error;
}

/** Whether a connection failed since then, for those who only see that an answer is 500. */
export function wasAwaySince(time: number): boolean {
  return noted.at >= time;
}

export function isDatabaseAway(error: unknown): boolean {
  for (let each = error, depth = 0; typeof each === "object" && each !== null && depth < 6; each = inner(each), depth++) {
    if (MARK in each || saysAway(each)) return true;
  }
  return false;
}

/** What an error was made of: Prisma keeps the driver's in `meta`. */
function inner(error: object): unknown {
  const { cause, meta } = error as { cause?: unknown; meta?: { driverAdapterError?: unknown } };
  return cause ?? meta?.driverAdapterError;
}

function saysAway(error: object): boolean {
  const { name, code, originalCode, kind, message } = error as Record<string, unknown>;
  const text = typeof message === "string" ? message : "";
  if (typeof kind === "string" && DRIVER_KINDS.has(kind)) return true;
  if (typeof originalCode === "string" && SQL_STATES.test(originalCode)) return true;
  if (typeof code === "string") {
    // P2028 is any fault of a transaction; this one had to wait for a connection for too long.
    if (PRISMA_CODES.has(code) || (code === "P2028" && /unable to start a transaction/i.test(text))) return true;
    // pg's own error has this name.
    if (name === "error" && SQL_STATES.test(code)) return true;
  }
  return CONNECTION_LOST.test(text);
}

/**
 * Connections (class 08), a server that shuts down, starts or is full (57P01 to 57P03, class
 * 53), statements and locks that took too long (57014, 55P03), a server that only reads
 * because it is not the primary any more (25006), and a role or database that it does not
 * have at the moment (class 28, 3D000).
 */
const SQL_STATES = /^(08...|57P0[1-5]|57014|55P03|53...|25006|28...|3D000)$/;
/** https://www.prisma.io/docs/orm/reference/error-reference */
const PRISMA_CODES = new Set(["P1000", "P1001", "P1002", "P1003", "P1008", "P1010", "P1011", "P1017", "P2024", "P2037"]);
const DRIVER_KINDS = new Set([
  "DatabaseNotReachable",
  "ConnectionClosed",
  "SocketTimeout",
  "TooManyConnections",
  "AuthenticationFailed",
  "DatabaseDoesNotExist",
  "DatabaseAccessDenied",
  "TlsConnectionError",
]);
/** What pg, its pool and PGlite say without a code. */
const CONNECTION_LOST =
  /^(Connection terminated|timeout exceeded when trying to connect|Query read timeout|Client (has encountered a connection error|was closed) and is not queryable|Cannot use a pool after calling end|PGlite is clos)/;
