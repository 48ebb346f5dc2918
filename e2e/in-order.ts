import path from "node:path";
import { expect } from "@playwright/test";
import { verify } from "../src/server/ledger/verify.ts";
import { type Database, openDatabase } from "../src/server/platform/db.ts";
import { forget, type ServerProcess } from "../src/testing/server-process.ts";

/**
 * What has to be true of every server at the end of its life: it stops when it is
 * told to, its books verify with no hold left open, and its log has neither errors
 * nor secrets.
 */
export async function endInOrder(
  server: ServerProcess,
  options: { upstream?: { key: string } | undefined; db?: Database | undefined; embedded?: boolean } = {},
): Promise<void> {
  const ended = await server.stop();
  expect(ended, `the server should end with 0:\n${server.output().stderr.slice(-2_000)}`).toBe(0);
  expectCleanOutput(server, options.upstream);
  if (options.db !== undefined) await expectBooksInOrder(options.db);
  else if (options.embedded !== false) {
    const db = await openDatabase({ dataDir: path.join(server.dataDir, "db") });
    await expectBooksInOrder(db).finally(() => db.close());
  }
  await forget(server);
}

export async function expectBooksInOrder(db: Database): Promise<void> {
  const report = await verify(db.sql);
  expect(report.discrepancies).toEqual([]);
  expect(report.ok).toBe(true);
  expect(report.openHolds, "holds left open").toBe(0);
}

export function expectCleanOutput(server: ServerProcess, upstream?: { key: string }): void {
  const { stdout, stderr } = server.output();
  // The log is one JSON object a line; anything else is a warning or a crash that nobody meant to print.
  const lines = stderr.split("\n").filter((line) => line !== "");
  expect(lines.filter((line) => !line.startsWith('{"time":')), "lines on stderr that the log did not write").toEqual([]);
  const errors = lines.filter((line) => (JSON.parse(line) as { level: string }).level === "error");
  expect(errors, "errors in the log").toEqual([]);

  // The welcome shows the demo data on purpose. Nothing else may.
  const [before = "", ...rest] = stdout.split("\n  Quota is ready at ");
  const after = rest.join("").split("Stop with Ctrl+C.").slice(1).join("");
  const written = [before, after, stderr].join("\n");
  const { demo } = server;
  const secrets = [demo.developer.password, demo.user.password, demo.app.client_secret, ...Object.values(demo.api_keys), upstream?.key].filter((secret) => secret !== undefined);
  expect(
    secrets.filter((secret) => written.includes(secret)).map((secret) => `${secret.slice(0, 12)}…`),
    "secrets in the log",
  ).toEqual([]);
  expect(written.match(/sk-quota-[0-9A-Za-z]{32}/g) ?? [], "API keys in the log").toEqual([]);
}
