import { processWide } from "./process-wide.ts";

/**
 * Tells failures of the database (unreachable, out of connections, shut down in the middle of a
 * statement, no answer in time) from faults of a request. Every door answers the former with 503
 * and Retry-After.
 */

/** Seconds for Retry-After; a restart of Postgres takes about as long. */
export const RETRY_AFTER_SECONDS = 5;

const MARK = Symbol.for("quota.databaseAway");
const lastFailure = processWide("database away", () => ({ at: 0 }));

/** Marks an error of a database connection: its code alone, such as ECONNRESET, could come from any socket. */
export function markAway<E>(error: E): E {
  lastFailure.at = Date.now();
  if (typeof error === "object" && error !== null && !(MARK in error)) Object.defineProperty(error, MARK, { value: true });
  return error;
}

/** Whether a database connection failed at `time` or later, for callers that only see an answer of 500. */
export function wasAwaySince(time: number): boolean {
  return lastFailure.at >= time;
}

export function isDatabaseAway(error: unknown): boolean {
  for (let each = error, depth = 0; typeof each === "object" && each !== null && depth < 6; each = inner(each), depth++) {
    if (MARK in each || looksAway(each)) return true;
  }
  return false;
}

/** The error that caused another one: Prisma keeps the driver's error in `meta`. */
function inner(error: object): unknown {
  const { cause, meta } = error as { cause?: unknown; meta?: { driverAdapterError?: unknown } };
  return cause ?? meta?.driverAdapterError;
}

function looksAway(error: object): boolean {
  const { name, code, originalCode, kind, message } = error as Record<string, unknown>;
  const text = typeof message === "string" ? message : "";
  if (typeof kind === "string" && DRIVER_KINDS.has(kind)) return true;
  if (typeof originalCode === "string" && SQL_STATES.test(originalCode)) return true;
  if (typeof code === "string") {
    // P2028 is every failure of a transaction; with this text the transaction got no connection within `maxWait`.
    if (PRISMA_CODES.has(code) || (code === "P2028" && /unable to start a transaction/i.test(text))) return true;
    // pg names the errors that the server reported "error".
    if (name === "error" && SQL_STATES.test(code)) return true;
  }
  return CONNECTION_LOST.test(text);
}

/**
 * Connections (class 08), a server that shuts down or starts (57P01 to 57P05), one without
 * resources (class 53), statements and locks that took too long (57014, 55P03), a server that is
 * read-only because another one is the primary now (25006), and a role or database that the
 * server lacks while it is restored (class 28, 3D000).
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
/** Messages of pg, pg-pool and PGlite for errors that have no code. */
const CONNECTION_LOST =
  /^(Connection terminated|timeout exceeded when trying to connect|Query read timeout|Client (has encountered a connection error|was closed) and is not queryable|Cannot use a pool after calling end|PGlite is clos)/;
