import { type ChildProcess, fork } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import pg from "pg";
import { migrate } from "../prisma/migrate.ts";
import { verify } from "../src/server/ledger/verify.ts";
import { openDatabase } from "../src/server/platform/db.ts";
import { makeApp, makeKey, makeLink, makeUser } from "../src/testing/makers.ts";
import { freshDatabase, startPostgres } from "../src/testing/postgres.ts";
import { forget, type ServerProcess, startServer } from "../src/testing/server-process.ts";
import { quantile } from "./figures.ts";
import type { LoadOrder, LoadReport } from "./load.ts";

/**
 * `npm run bench:locked`: what a session that keeps one wallet locked costs requests of other
 * wallets. The same load runs before, during and after the lock, with a few requests a second of
 * the locked wallet beside it. Exits with 1 when the others keep less than 0.9 of their throughput or
 * wait more than twice as long (p99), or when the books do not balance.
 *
 * The same load also runs beside an open transaction that locks nothing. PostgreSQL keeps every row
 * version that such a transaction could still read, and each look at a wallet passes its versions,
 * so with few wallets and many requests for each any open transaction slows all of them. That phase
 * separates this cost from the lock's.
 */
const { values: options } = parseArgs({
  options: {
    seconds: { type: "string", default: "25" },
    concurrency: { type: "string", default: "16" },
    wallets: { type: "string", default: "4000" },
  },
});
const BODY = JSON.stringify({ model: "gpt-4o-mini", max_tokens: 100, messages: [{ role: "user", content: "Hello!" }] });
const SECONDS = Number(options.seconds);
const LOCKED_PER_SECOND = 20;
const here = path.dirname(fileURLToPath(import.meta.url));
const children: ChildProcess[] = [];
const postgres = await startPostgres();
const fresh = await freshDatabase(postgres.url);
const db = await openDatabase({ url: fresh.url });
const servers: ServerProcess[] = [];
const wrong: string[] = [];

try {
  await main();
} finally {
  for (const child of children) child.kill("SIGKILL");
  for (const server of servers) {
    await server.kill9();
    await forget(server);
  }
  await db.close();
  await fresh.drop();
  await postgres.stop();
}
for (const each of wrong) console.log(`NOT as it should be: ${each}`);
if (wrong.length > 0) process.exitCode = 1;

async function main(): Promise<void> {
  await migrate(db);
  const app = await makeApp(db, { markupBps: 2_000 });
  const { secret } = await makeKey(db, app.id, "user");
  const users: string[] = [];
  for (let index = 0; index < Number(options.wallets); index++)
    users.push((await makeLink(db, app.id, await makeUser(db, { credits: 1_000_000_000n }))).externalUserId);
  const victim = await makeUser(db, { credits: 1_000_000_000n });
  const { externalUserId } = await makeLink(db, app.id, victim);

  const upstream = (await first(start("upstream.ts"))) as { port: number };
  const server = await startServer({
    databaseUrl: fresh.url,
    upstream: { url: `http://127.0.0.1:${upstream.port}/v1`, key: "bench" },
    env: { QUOTA_QUIET: "1" },
    pages: false,
  });
  servers.push(server);
  const port = Number(new URL(server.url).port);
  const load = start("load.ts");
  await first(load);
  const requests = users.map((user) => request(port, secret, user));

  /** Runs the load, and beside it the locked wallet's requests. */
  const measure = async (seconds: number) => {
    const order: LoadOrder = { port, concurrency: Number(options.concurrency), seconds, requests };
    const statuses = new Map<number, number>();
    const own: Promise<void>[] = [];
    const beside = setInterval(() => own.push(ask(port, secret, externalUserId, statuses)), 1_000 / LOCKED_PER_SECOND);
    load.send(order);
    const report = (await first(load)) as LoadReport;
    clearInterval(beside);
    await Promise.all(own);
    return { rps: report.requests / report.seconds, p99: quantile(report.latenciesMs, 0.99), failures: report.failures, statuses };
  };

  await measure(2);
  const before = await measure(SECONDS / 2);
  const other = new pg.Client({ connectionString: fresh.url });
  await other.connect();
  // With a transaction id, like a transaction that locks a row, but without a lock.
  await other.query("BEGIN");
  await other.query("SELECT pg_current_xact_id()");
  const open = await measure(SECONDS);
  await other.query("COMMIT");
  const between = await measure(SECONDS / 2);
  await other.query("BEGIN");
  await other.query("SELECT id FROM account WHERE id = $1 FOR UPDATE", [victim.walletId]);
  const meanwhile = await measure(SECONDS);
  await other.query("COMMIT");
  await other.end();
  const after = await measure(SECONDS / 2);

  for (const [name, { rps, p99, failures, statuses }] of [
    ["before", before],
    [`open for ${SECONDS} s`, open],
    ["between", between],
    [`locked for ${SECONDS} s`, meanwhile],
    ["after", after],
  ] as const) {
    const own = [...statuses].map(([status, count]) => `${count} x ${status}`).join(", ");
    console.log(
      `${name.padEnd(16)} others ${rps.toFixed(0)} requests/s, p99 ${p99.toFixed(1)} ms, ${failures} failed; the wallet's own: ${own}`,
    );
    if (failures > 0) wrong.push(`${failures} requests of others failed ${name}`);
  }
  const rps = (between.rps + after.rps) / 2;
  const p99 = (between.p99 + after.p99) / 2;
  console.log(
    `a transaction that locks nothing: others keep ${(open.rps / between.rps).toFixed(2)}; with the lock ${(meanwhile.rps / open.rps).toFixed(2)} of that`,
  );
  console.log(`others keep ${(meanwhile.rps / rps).toFixed(2)} of their throughput; p99 ${(meanwhile.p99 / p99).toFixed(2)} times`);
  if (meanwhile.rps < 0.9 * rps) wrong.push("others lost more than a tenth of their throughput");
  if (meanwhile.p99 > 2 * p99) wrong.push("others waited more than twice as long");
  if ((await server.stop()) !== 0) wrong.push("the server did not stop in order");
  const books = await verify(db.sql);
  console.log(`${books.usages} requests billed, ${books.openHolds} open holds, the books are ${books.ok ? "in order" : "NOT in order"}`);
  if (!books.ok || books.openHolds > 0) wrong.push(JSON.stringify(books.discrepancies.slice(0, 5)));
}

function request(port: number, key: string, user: string): string {
  return `POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAuthorization: Bearer ${key}\r\nX-Quota-User: ${user}\r\nContent-Type: application/json\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`;
}

async function ask(port: number, key: string, user: string, statuses: Map<number, number>): Promise<void> {
  const answer = await fetch(`http://127.0.0.1:${port}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "x-quota-user": user, "content-type": "application/json" },
    body: BODY,
    signal: AbortSignal.timeout(60_000),
  });
  await answer.text();
  statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
}

function start(file: string): ChildProcess {
  const child = fork(path.join(here, file), [], { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  children.push(child);
  return child;
}

/** The next message of a process of the benchmark. */
function first(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const ended = (code: number | null) => reject(new Error(`a process of the benchmark ended with ${code}`));
    child.once("exit", ended);
    child.once("message", (said) => {
      child.off("exit", ended);
      resolve(said);
    });
  });
}
