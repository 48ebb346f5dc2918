import { expect } from "@playwright/test";
import { verify } from "../src/server/ledger/verify.ts";
import { openDatabase } from "../src/server/platform/db.ts";
import type { ServerProcess } from "../src/testing/server-process.ts";

/**
 * Checks a server at its end: it stops on SIGTERM, its books verify without an open hold, and its log
 * has neither errors nor secrets.
 */
export async function expectToStop(server: ServerProcess): Promise<void> {
  const ended = await server.stop();
  expect(ended, `the server should end with 0:\n${server.output().stderr.slice(-2_000)}`).toBe(0);
}

export async function expectBooksInOrder(where: { url?: string; dataDir?: string }): Promise<void> {
  const db = await openDatabase(where);
  try {
    const report = await verify(db.sql);
    expect(report.discrepancies).toEqual([]);
    expect(report.ok).toBe(true);
    expect(report.openHolds, "holds left open").toBe(0);
  } finally {
    await db.close();
  }
}

export function expectCleanOutput(server: ServerProcess, upstream?: { key: string }): void {
  const { stdout, stderr } = server.output();
  // The log is one JSON object a line; other lines are warnings or crashes.
  const lines = stderr.split("\n").filter((line) => line !== "");
  expect(
    lines.filter((line) => !line.startsWith('{"time":')),
    "lines on stderr that the log did not write",
  ).toEqual([]);
  const errors = lines.filter((line) => (JSON.parse(line) as { level: string }).level === "error");
  expect(errors, "errors in the log").toEqual([]);

  // Only the welcome text may show the demo data.
  const [before = "", ...rest] = stdout.split("\n  Quota is ready at ");
  const after = rest.join("").split("Stop with Ctrl+C.").slice(1).join("");
  const written = [before, after, stderr].join("\n");
  const { demo } = server;
  const secrets = [
    demo.developer.password,
    demo.user.password,
    demo.app.client_secret,
    ...Object.values(demo.api_keys),
    upstream?.key,
  ].filter((secret) => secret !== undefined);
  expect(
    secrets.filter((secret) => written.includes(secret)).map((secret) => `${secret.slice(0, 12)}…`),
    "secrets in the log",
  ).toEqual([]);
  expect(written.match(/sk-quota-[0-9A-Za-z]{32}/g) ?? [], "API keys in the log").toEqual([]);
}
