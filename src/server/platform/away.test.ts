import { expect, test } from "vitest";
import { isDatabaseAway, markAway } from "./away.ts";

const prismaError = (code: string, message = "", meta: object = {}) =>
  Object.assign(new Error(message), { name: "PrismaClientKnownRequestError", code, meta });
const postgresError = (code: string) => Object.assign(new Error("from Postgres"), { name: "error", code });
const driverError = (cause: object) => ({ driverAdapterError: Object.assign(new Error("driver"), { name: "DriverAdapterError", cause }) });

test.each([
  ...["P1001", "P1002", "P1008", "P1017", "P2024", "P2037"].map((code): [string, unknown] => [code, prismaError(code)]),
  ...["08006", "57P01", "57P02", "57P03", "53300", "57014", "55P03", "25006"].map((code): [string, unknown] => [code, postgresError(code)]),
  [
    "a transaction that found no connection",
    prismaError("P2028", "Transaction API error: Unable to start a transaction in the given time."),
  ],
  [
    "a raw query while Postgres starts",
    prismaError("P2010", "Raw query failed.", driverError({ kind: "postgres", originalCode: "57P03" })),
  ],
  ["a raw query with nobody there", prismaError("P2010", "Raw query failed.", driverError({ kind: "DatabaseNotReachable" }))],
  ["no connection within the time of the pool", new Error("timeout exceeded when trying to connect")],
  ["a connection that is not answered", new Error("Connection terminated due to connection timeout")],
  ["a server that is gone without a word", new Error("Query read timeout")],
  ["a connection that broke in between", new Error("Client has encountered a connection error and is not queryable")],
  ["a failure that carries one", new Error("the page failed", { cause: new Error("another", { cause: postgresError("57P01") }) })],
  ["a broken pipe of its connection", markAway(Object.assign(new Error("write EPIPE"), { code: "EPIPE" }))],
])("the database is away: %s", (_name, error) => {
  expect(isDatabaseAway(error)).toBe(true);
});

test.each([
  ["a unique value twice", prismaError("P2002")],
  ["a transaction that was closed", prismaError("P2028", "Transaction API error: Transaction already closed.")],
  ["a deadlock", postgresError("40P01")],
  ["a wrong statement", prismaError("P2010", "Raw query failed.", driverError({ kind: "postgres", originalCode: "42601" }))],
  ["a provider that is not there", Object.assign(new Error("connect ECONNREFUSED 127.0.0.1:1"), { code: "ECONNREFUSED" })],
  ["a provider's code that looks like one of Postgres", Object.assign(new Error("no"), { code: "53300" })],
  ["no error", null],
  ["a text", "Connection terminated"],
])("the database is not away: %s", (_name, error) => {
  expect(isDatabaseAway(error)).toBe(false);
});
