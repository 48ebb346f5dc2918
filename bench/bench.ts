import { type ChildProcess, execFileSync, fork, spawn } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { cpus, tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { migrate } from "../prisma/migrate.ts";
import { verify } from "../src/server/ledger/verify.ts";
import { type Database, openDatabase } from "../src/server/platform/db.ts";
import type { Sql } from "../src/server/platform/sql.ts";
import * as makers from "../src/testing/makers.ts";
import { freePort, freshDatabase, startPostgres } from "../src/testing/postgres.ts";
import { cpuMs, postgresPids } from "./cpu.ts";
import { median, milliseconds, quantile, spread } from "./figures.ts";
import type { LoadOrder, LoadReport } from "./load.ts";
import { seedUsage } from "./seed-usage.ts";

/**
 * `npm run bench`: what billing costs. The same load goes to a raw pass-through and to Quota on a
 * real Postgres with durable commits, in turns within one run; the result is the ratio between
 * them. Further targets take part in the same turns:
 *
 * - `+hooks`: an app with a webhook endpoint for all events that its requests emit (`--no-hooks`
 *   leaves it out, and with it the wait until everything is delivered);
 * - `--beside DIR`: the server of another checkout, with its own dependencies and build, on a
 *   database of its own: what a change costs or gains;
 * - `--full 10000000,1000000`: a second server on a database that has this many requests and
 *   linked users;
 * - `--with-portkey`: another gateway, without billing, at the version below. It is installed into
 *   a temporary folder, which needs the package registry.
 */
const PORTKEY = { "@portkey-ai/gateway": "1.15.2", hono: "4.9.7", "@hono/node-server": "1.13.8" };

const { values: options } = parseArgs({
  allowNegative: true,
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "2" },
    concurrency: { type: "string", default: "1,16,64" },
    modes: { type: "string", default: "json,sse" },
    wallets: { type: "string", default: "1000" },
    full: { type: "string" },
    beside: { type: "string" },
    "with-portkey": { type: "boolean", default: false },
    hooks: { type: "boolean", default: true },
    profile: { type: "boolean", default: false },
    entry: { type: "string", default: fileURLToPath(new URL("../src/server/main.ts", import.meta.url)) },
  },
});
const rounds = Number(options.rounds);
const seconds = Number(options.seconds);
const WARM_UP_SECONDS = 0.3;
const here = path.dirname(fileURLToPath(import.meta.url));
const children: ChildProcess[] = [];
const folder = await mkdtemp(path.join(tmpdir(), "quota-bench-"));
const postgres = await startPostgres();
// UTC, so that a build from before connections set their time zone can run beside this one.
const fresh = await freshDatabase(postgres.url, "UTC");
const second = await freshDatabase(postgres.url, "UTC");
const third = await freshDatabase(postgres.url, "UTC");
const quotas: ChildProcess[] = [];

try {
  await main();
} finally {
  for (const child of children) child.kill("SIGKILL");
  await fresh.drop();
  await second.drop();
  await third.drop();
  await postgres.stop();
  await rm(folder, { recursive: true, force: true });
}

type Makers = Pick<typeof makers, "makeApp" | "makeKey" | "makeLink" | "makeUser">;

/** A server that gets the load. */
type Target = { name: string; key: string; port: number; pid: number; headers?: string; afterwards?: () => Promise<void> };

async function main(): Promise<void> {
  console.log(
    `${cpus().length} cores (${cpus()[0]?.model}), Node ${process.version}, ${rounds} rounds of ${seconds} s each, medians [lowest to highest]`,
  );
  const db = await openDatabase({ url: fresh.url });
  await migrate(db);
  const [version] = await db.sql.query({ name: "v", text: "SHOW server_version" }, []);
  console.log(
    `PostgreSQL ${version?.server_version}, fsync and synchronous_commit on; ${options.wallets} wallets, every second with a monthly limit; markup 20 %`,
  );
  const { keys, users } = await openShops(db);

  const upstreamPort = await startChild("upstream.ts", []);
  const rawPort = await startChild("raw.ts", [`http://127.0.0.1:${upstreamPort}`]);
  const raw: Target = { name: "raw", key: keys.plain, port: rawPort, pid: children.at(-1)?.pid ?? 0 };
  const server = await startQuota(fresh.url, upstreamPort);
  const quota: Target = { name: "quota", key: keys.plain, ...server };
  // In every database or in none: a settlement costs more in a database with any endpoint.
  const receivers = options.hooks ? [await subscribe(quota.port, keys.listening)] : [];
  // The next target starts after all deliveries, so that they count for this one.
  const told: Target = { ...quota, name: "+hooks", key: keys.listening, afterwards: () => allDelivered(db.sql) };
  const targets = options.hooks ? [raw, quota, told] : [raw, quota];

  let fullDb: Database | null = null;
  if (options.full !== undefined) {
    const [rows = 0, linked = 0] = options.full.split(",").map(Number);
    fullDb = await openDatabase({ url: second.url });
    await migrate(fullDb);
    const app = await makers.makeApp(fullDb, { markupBps: 2_000 });
    const key = await makers.makeKey(fullDb, app.id);
    await seedUsage(fullDb, { id: app.id, earningsId: app.earningsId, keyIds: [key.id] }, { rows, users: linked, days: 90 });
    await fullDb.withoutTimeLimit((sql) => sql.query({ name: "", text: "VACUUM ANALYZE" }, []));
    const shops = await openShops(fullDb);
    const full = await startQuota(second.url, upstreamPort);
    if (options.hooks) receivers.push(await subscribe(full.port, shops.keys.listening));
    targets.push({ name: "full", key: shops.keys.plain, ...full });
    console.log(`full: ${rows} requests and ${linked} linked users are in its database already`);
  }
  let besideDb: Database | null = null;
  if (options.beside !== undefined) {
    // Its data is made by its own code, because its tables may differ.
    const from = <Module>(file: string) => import(path.resolve(options.beside as string, file)) as Promise<Module>;
    const theirs = {
      ...(await from<typeof import("../prisma/migrate.ts")>("prisma/migrate.ts")),
      ...(await from<typeof import("../src/server/platform/db.ts")>("src/server/platform/db.ts")),
      ...(await from<typeof import("../src/testing/makers.ts")>("src/testing/makers.ts")),
    };
    besideDb = await theirs.openDatabase({ url: third.url });
    await theirs.migrate(besideDb);
    const shops = await openShops(besideDb, theirs);
    const entry = path.resolve(options.beside, "src/server/main.ts");
    const beside = await startQuota(third.url, upstreamPort, entry);
    if (options.hooks) receivers.push(await subscribe(beside.port, shops.keys.listening));
    targets.push({ name: "beside", key: shops.keys.plain, ...beside });
    console.log(`beside: the server of ${path.basename(path.resolve(options.beside))}`);
  }
  if (options["with-portkey"]) targets.push(await startPortkey(upstreamPort));

  const load = fork(path.join(here, "load.ts"), [], { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  children.push(load);
  await message(load);

  for (const mode of (options.modes ?? "").split(",")) {
    for (const concurrency of (options.concurrency ?? "").split(",").map(Number)) {
      const results = new Map(targets.map(({ name }) => [name, [] as Measured[]]));
      const measure = async (target: Target, duration: number) => {
        const requests = users.map((user) => request(mode === "sse", target, user));
        const measured = await run(load, { port: target.port, concurrency, seconds: duration, requests }, target.pid);
        await target.afterwards?.();
        return measured;
      };
      for (const target of targets) if (target !== told) await measure(target, 1);
      for (let round = 0; round < rounds; round++) {
        for (const target of inOrderOf(round, targets)) {
          // Fills the caches that the target before has displaced.
          if (target !== told) await measure(target, WARM_UP_SECONDS);
          results.get(target.name)?.push(await measure(target, seconds));
        }
      }
      report(mode, concurrency, results);
    }
  }

  if (options.hooks) console.log(`\n${receivers[0]?.delivered()} webhooks delivered.`);
  for (const receiver of receivers) receiver.close();
  for (const child of quotas) {
    const stopped = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    await stopped;
  }
  for (const [name, books] of [
    ["", await verify(db.sql)],
    ["full: ", fullDb === null ? null : await fullDb.withoutTimeLimit((sql) => verify(sql))],
  ] as const) {
    if (books === null) continue;
    console.log(
      `\n${name}${books.usages} requests billed, ${books.openHolds} open holds; the books are ${books.ok ? "in order" : `NOT in order: ${JSON.stringify(books.discrepancies.slice(0, 5))}`}.`,
    );
    if (!books.ok || books.openHolds > 0) process.exitCode = 1;
  }
  await db.close();
  await fullDb?.close();
  await besideDb?.close();
}

/**
 * Each round begins with another target, and every second one runs backwards: with one order for all rounds a server
 * measured against itself came out at 0.92, because a target after a server without a database finds the database idle.
 */
function inOrderOf<Item>(round: number, items: readonly Item[]): Item[] {
  const begin = Math.floor(round / 2) % items.length;
  const turned = [...items.slice(begin), ...items.slice(0, begin)];
  return round % 2 === 0 ? turned : turned.reverse();
}

/** Two apps with a key each, linked to the same users; only the second app has webhook endpoints. */
async function openShops(
  db: Database,
  { makeApp, makeKey, makeLink, makeUser }: Makers = makers,
): Promise<{ keys: { plain: string; listening: string }; users: string[] }> {
  const keys = { plain: "", listening: "" };
  const apps: string[] = [];
  for (const name of ["plain", "listening"] as const) {
    const app = await makeApp(db, { markupBps: 2_000 });
    keys[name] = (await makeKey(db, app.id, "user")).secret;
    apps.push(app.id);
  }
  const users: string[] = [];
  for (let index = 0; index < Number(options.wallets); index++) {
    const user = await makeUser(db, { credits: 1_000_000_000n });
    const externalUserId = `bench_${index}`;
    for (const appId of apps)
      await makeLink(db, appId, user, { externalUserId, ...(index % 2 === 0 ? { monthlyLimit: 900_000_000n } : {}) });
    users.push(externalUserId);
  }
  return { keys, users };
}

function request(stream: boolean, { port, key, headers = "" }: Target, user: string): string {
  const body = JSON.stringify({
    model: "gpt-4o-mini",
    max_tokens: 100,
    ...(stream ? { stream: true } : {}),
    messages: [{ role: "user", content: "Hello!" }],
  });
  return `POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAuthorization: Bearer ${key}\r\nX-Quota-User: ${user}\r\n${headers}Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}

async function startQuota(databaseUrl: string, upstreamPort: number, entry = options.entry ?? ""): Promise<{ port: number; pid: number }> {
  const port = await freePort();
  const server = fork(entry, [], {
    cwd: path.resolve(path.dirname(entry), "../.."),
    env: {
      ...process.env,
      NODE_ENV: "production",
      PORT: String(port),
      DATABASE_URL: databaseUrl,
      QUOTA_DATA_DIR: folder,
      QUOTA_DEMO: "0",
      QUOTA_RATE_LIMIT_PER_MINUTE: "1000000000",
      QUOTA_WEBHOOK_ALLOW_LOOPBACK: "1",
      OPENAI_API_KEY: "bench",
      OPENAI_BASE_URL: `http://127.0.0.1:${upstreamPort}/v1`,
    },
    execArgv: options.profile ? ["--cpu-prof", "--cpu-prof-dir=bench-profile"] : [],
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  children.push(server);
  quotas.push(server);
  await waitUntil(port, "/healthz");
  return { port, pid: server.pid ?? 0 };
}

/** Starts a receiver that accepts every delivery, and creates an endpoint for it. */
async function subscribe(port: number, key: string): Promise<{ delivered(): number; close(): void }> {
  let delivered = 0;
  const receiver = createServer((incoming, outgoing) => {
    delivered++;
    incoming.resume();
    outgoing.writeHead(204).end();
  });
  await new Promise<void>((resolve) => receiver.listen(0, "127.0.0.1", resolve));
  const answer = await fetch(`http://127.0.0.1:${port}/v1/webhooks`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: JSON.stringify({
      url: `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`,
      events: ["usage.completed", "balance.updated", "balance.low"],
    }),
  });
  if (!answer.ok) throw new Error(`the endpoint could not be made: ${await answer.text()}`);
  return {
    delivered: () => delivered,
    close() {
      receiver.closeAllConnections();
      receiver.close();
    },
  };
}

async function startPortkey(upstreamPort: number): Promise<Target> {
  const home = path.join(folder, "portkey");
  await mkdir(home);
  await writeFile(
    path.join(home, "package.json"),
    JSON.stringify({
      private: true,
      dependencies: PORTKEY,
      overrides: { hono: PORTKEY.hono, "@hono/node-server": PORTKEY["@hono/node-server"] },
    }),
  );
  execFileSync("npm", ["install", "--ignore-scripts", "--no-audit", "--no-fund"], { cwd: home, stdio: "ignore", timeout: 300_000 });
  const port = await freePort();
  const child = spawn(process.execPath, ["node_modules/@portkey-ai/gateway/build/start-server.js", "--headless", `--port=${port}`], {
    cwd: home,
    stdio: "ignore",
    env: { ...process.env, NODE_ENV: "production" },
  });
  children.push(child);
  await waitUntil(port, "/");
  const headers = `x-portkey-provider: openai\r\nx-portkey-custom-host: http://127.0.0.1:${upstreamPort}/v1\r\n`;
  return { name: "portkey", key: "bench", port, pid: child.pid ?? 0, headers };
}

type Measured = { rps: number; p50: number; p99: number; cpuMs: number | null; postgresMs: number | null };

async function run(load: ChildProcess, order: LoadOrder, pid: number): Promise<Measured> {
  const before = { server: cpuMs([pid]), postgres: cpuMs(postgresPids(postgres.dataDir)) };
  load.send(order);
  const report = (await message(load)) as LoadReport;
  const after = { server: cpuMs([pid]), postgres: cpuMs(postgresPids(postgres.dataDir)) };
  if (report.failures > 0) throw new Error(`${report.failures} of ${report.requests} requests failed`);
  const per = (start: number | null, end: number | null) => (start === null || end === null ? null : (end - start) / report.requests);
  return {
    rps: report.requests / report.seconds,
    p50: quantile(report.latenciesMs, 0.5),
    p99: quantile(report.latenciesMs, 0.99),
    cpuMs: per(before.server, after.server),
    postgresMs: per(before.postgres, after.postgres),
  };
}

async function allDelivered(sql: Sql): Promise<void> {
  const left = {
    name: "bench_left",
    text: `SELECT EXISTS (SELECT 1 FROM outbox_event WHERE relayed_at IS NULL) OR EXISTS (SELECT 1 FROM webhook_delivery WHERE status = 'pending') AS left`,
  };
  while ((await sql.query(left, []))[0]?.left === true) await new Promise((resolve) => setTimeout(resolve, 250));
}

function report(mode: string, concurrency: number, results: Map<string, Measured[]>): void {
  console.log(`\n${mode === "sse" ? "SSE, 50 chunks" : "JSON"}, concurrency ${concurrency}`);
  for (const [name, list] of results) {
    const rps = median(list.map((each) => each.rps))
      .toFixed(0)
      .padStart(6);
    const [p50, p99] = [median(list.map((each) => each.p50)), median(list.map((each) => each.p99))];
    const cpu = `server ${milliseconds(list.map((each) => each.cpuMs))}, Postgres ${milliseconds(list.map((each) => each.postgresMs))}`;
    console.log(`  ${name.padEnd(7)} ${rps} requests/s   p50 ${p50.toFixed(2)} ms   p99 ${p99.toFixed(2)} ms   CPU per request: ${cpu}`);
  }
  for (const [name, other] of [
    ["quota", "raw"],
    ["+hooks", "quota"],
    ["full", "quota"],
    ["quota", "beside"],
    ["quota", "portkey"],
  ] as const) {
    const [mine, theirs] = [results.get(name), results.get(other)];
    if (mine === undefined || theirs === undefined) continue;
    const ratios = mine.map((each, round) => each.rps / (theirs[round]?.rps ?? 1));
    console.log(`  ${name} is ${spread(ratios)} of ${other}`);
  }
}

async function startChild(file: string, args: string[]): Promise<number> {
  const child = fork(path.join(here, file), args, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  children.push(child);
  return ((await message(child)) as { port: number }).port;
}

function message(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const ended = (code: number | null) => reject(new Error(`a process of the benchmark ended with ${code}`));
    child.once("exit", ended);
    child.once("message", (said) => {
      child.off("exit", ended);
      resolve(said);
    });
  });
}

async function waitUntil(port: number, path: string): Promise<void> {
  const deadline = Date.now() + 300_000;
  while (Date.now() < deadline) {
    try {
      if ((await fetch(`http://127.0.0.1:${port}${path}`)).ok) return;
    } catch {
      // The server does not listen yet.
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  throw new Error("a server did not come up");
}
