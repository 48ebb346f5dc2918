import { type ChildProcess, fork } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { cpus, tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { migrate } from "../prisma/migrate.ts";
import { verify } from "../src/server/ledger/verify.ts";
import { openDatabase } from "../src/server/platform/db.ts";
import type { Sql } from "../src/server/platform/sql.ts";
import { makeApp, makeLink, makeUser } from "../src/testing/makers.ts";
import { freePort, freshDatabase, startPostgres } from "../src/testing/postgres.ts";
import { cpuMs, postgresPids } from "./cpu.ts";
import type { LoadOrder, LoadReport } from "./load.ts";

/**
 * `npm run bench`: what billing costs. The same load goes to a raw pass-through and
 * to Quota on a real Postgres with durable commits, in turns within one run; the
 * figures that count are the ratios between the two. A third takes part: the same
 * requests with an app that has a webhook endpoint for everything that they make known.
 */
const { values: options } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "2" },
    concurrency: { type: "string", default: "1,16,64" },
    modes: { type: "string", default: "json,sse" },
    wallets: { type: "string", default: "1000" },
    profile: { type: "boolean", default: false },
    entry: { type: "string", default: fileURLToPath(new URL("../src/server/main.ts", import.meta.url)) },
  },
});
const rounds = Number(options.rounds);
const seconds = Number(options.seconds);
const here = path.dirname(fileURLToPath(import.meta.url));
const children: ChildProcess[] = [];
const folder = await mkdtemp(path.join(tmpdir(), "quota-bench-"));
const postgres = await startPostgres();
const fresh = await freshDatabase(postgres.url);

try {
  await main();
} finally {
  for (const child of children) child.kill("SIGKILL");
  await fresh.drop();
  await postgres.stop();
  await rm(folder, { recursive: true, force: true });
}

async function main(): Promise<void> {
  console.log(
    `${cpus().length} cores (${cpus()[0]?.model}), Node ${process.version}, ${rounds} rounds of ${seconds} s each, medians [lowest to highest]`,
  );
  const db = await openDatabase({ url: fresh.url });
  await migrate(db);
  const [{ server_version: version }] = (await db.sql.query({ name: "v", text: "SHOW server_version" }, [])) as [
    { server_version: string },
  ];
  console.log(
    `PostgreSQL ${version}, fsync and synchronous_commit on; ${options.wallets} wallets, every second with a monthly limit; markup 20 %`,
  );
  const app = await makeApp(db, { markupBps: 2_000 });
  const secret = `sk-quota-${randomBytes(16).toString("hex")}`;
  await db.prisma.apiKey.create({
    data: { appId: app.id, name: "bench", hash: createHash("sha256").update(secret).digest(), fragment: "sk-quota-…", billingMode: "user" },
  });
  const listening = await makeApp(db, { markupBps: 2_000 });
  const listeningSecret = `sk-quota-${randomBytes(16).toString("hex")}`;
  await db.prisma.apiKey.create({
    data: {
      appId: listening.id,
      name: "bench",
      hash: createHash("sha256").update(listeningSecret).digest(),
      fragment: "sk-quota-…",
      billingMode: "user",
    },
  });
  const users: string[] = [];
  for (let index = 0; index < Number(options.wallets); index++) {
    const user = await makeUser(db, { credits: 1_000_000_000n });
    const link = await makeLink(db, app.id, user, {
      externalUserId: `user_${index}`,
      ...(index % 2 === 0 ? { monthlyLimit: 900_000_000n } : {}),
    });
    users.push(link.externalUserId);
    await makeLink(db, listening.id, user, {
      externalUserId: `user_${index}`,
      ...(index % 2 === 0 ? { monthlyLimit: 900_000_000n } : {}),
    });
  }

  const upstreamPort = await startChild("upstream.ts", []);
  const raw = {
    name: "raw",
    key: secret,
    port: await startChild("raw.ts", [`http://127.0.0.1:${upstreamPort}`]),
    pid: children.at(-1)?.pid ?? 0,
  };
  const quotaPort = await freePort();
  const server = fork(options.entry ?? "", [], {
    env: {
      ...process.env,
      NODE_ENV: "production",
      PORT: String(quotaPort),
      DATABASE_URL: fresh.url,
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
  const quota = { name: "quota", key: secret, port: quotaPort, pid: server.pid ?? 0 };
  await waitUntilReady(quotaPort);
  const delivered = { count: 0 };
  const receiver = createServer((incoming, outgoing) => {
    delivered.count++;
    incoming.resume();
    outgoing.writeHead(204).end();
  });
  await new Promise<void>((resolve) => receiver.listen(0, "127.0.0.1", resolve));
  const subscribed = await fetch(`http://127.0.0.1:${quotaPort}/v1/webhooks`, {
    method: "POST",
    headers: { authorization: `Bearer ${listeningSecret}`, "content-type": "application/json" },
    body: JSON.stringify({
      url: `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`,
      events: ["usage.completed", "balance.updated", "balance.low"],
    }),
  });
  if (!subscribed.ok) throw new Error(`the endpoint could not be made: ${await subscribed.text()}`);
  const load = fork(path.join(here, "load.ts"), [], { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  children.push(load);
  await message(load);

  const request = (stream: boolean, { port, key }: { port: number; key: string }, user: string) => {
    const body = JSON.stringify({
      model: "gpt-4o-mini",
      max_tokens: 100,
      ...(stream ? { stream: true } : {}),
      messages: [{ role: "user", content: "Hello!" }],
    });
    return `POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAuthorization: Bearer ${key}\r\nX-Quota-User: ${user}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  };

  for (const mode of (options.modes ?? "").split(",")) {
    for (const concurrency of (options.concurrency ?? "").split(",").map(Number)) {
      const results = { raw: [] as Measured[], quota: [] as Measured[], told: [] as Measured[] };
      const measure = (target: typeof raw, duration: number) =>
        run(
          load,
          { port: target.port, concurrency, seconds: duration, requests: users.map((user) => request(mode === "sse", target, user)) },
          target.pid,
        );
      for (const target of [raw, quota]) await measure(target, 1);
      for (let round = 0; round < rounds; round++) {
        results.raw.push(await measure(raw, seconds));
        results.quota.push(await measure(quota, seconds));
        results.told.push(await measure({ ...quota, key: listeningSecret }, seconds));
        // The next round begins with nothing left to deliver, so that each pays for its own news.
        await allDelivered(db.sql);
      }
      report(mode, concurrency, results);
    }
  }

  console.log(`\n${delivered.count} webhooks delivered.`);
  receiver.closeAllConnections();
  receiver.close();
  const stopped = new Promise((resolve) => server.once("exit", resolve));
  server.kill("SIGTERM");
  await stopped;
  const books = await verify(db.sql);
  console.log(
    `\n${books.usages} requests billed, ${books.openHolds} open holds; the books are ${books.ok ? "in order" : `NOT in order: ${JSON.stringify(books.discrepancies.slice(0, 5))}`}.`,
  );
  await db.close();
  if (!books.ok || books.openHolds > 0) process.exitCode = 1;
}

type Measured = { rps: number; p50: number; p99: number; cpuMs: number | null; postgresMs: number | null };

async function run(load: ChildProcess, order: LoadOrder, pid: number): Promise<Measured> {
  const before = { server: cpuMs([pid]), postgres: cpuMs(postgresPids(postgres.dataDir)) };
  load.send(order);
  const report = (await message(load)) as LoadReport;
  const after = { server: cpuMs([pid]), postgres: cpuMs(postgresPids(postgres.dataDir)) };
  if (report.failures > 0) throw new Error(`${report.failures} of ${report.requests} requests failed`);
  const sorted = report.latenciesMs.sort((a, b) => a - b);
  const per = (start: number | null, end: number | null) => (start === null || end === null ? null : (end - start) / report.requests);
  return {
    rps: report.requests / report.seconds,
    p50: sorted[Math.floor(sorted.length * 0.5)] ?? 0,
    p99: sorted[Math.floor(sorted.length * 0.99)] ?? 0,
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

function report(mode: string, concurrency: number, results: { raw: Measured[]; quota: Measured[]; told: Measured[] }): void {
  const ratios = results.quota.map((each, round) => each.rps / (results.raw[round]?.rps ?? 1));
  const line = (name: string, list: Measured[]) =>
    `  ${name.padEnd(6)} ${median(list.map((each) => each.rps))
      .toFixed(0)
      .padStart(
        6,
      )} requests/s   p50 ${median(list.map((each) => each.p50)).toFixed(2)} ms   p99 ${median(list.map((each) => each.p99)).toFixed(2)} ms   CPU per request: server ${ms(list.map((each) => each.cpuMs))}, Postgres ${ms(list.map((each) => each.postgresMs))}`;
  console.log(
    `\n${mode === "sse" ? "SSE, 50 chunks" : "JSON"}, concurrency ${concurrency}: ${median(ratios).toFixed(2)} of raw [${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}]`,
  );
  console.log(line("raw", results.raw));
  console.log(line("quota", results.quota));
  console.log(line("+hooks", results.told));
  const told = results.told.map((each, round) => each.rps / (results.quota[round]?.rps ?? 1));
  console.log(
    `  with an endpoint: ${median(told).toFixed(2)} of without [${Math.min(...told).toFixed(2)} to ${Math.max(...told).toFixed(2)}]`,
  );
}

function ms(list: (number | null)[]): string {
  return list.some((each) => each === null) ? "unknown" : `${median(list as number[]).toFixed(3)} ms`;
}

function median(list: number[]): number {
  const sorted = [...list].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
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

async function waitUntilReady(port: number): Promise<void> {
  const deadline = Date.now() + 300_000;
  while (Date.now() < deadline) {
    try {
      if ((await fetch(`http://127.0.0.1:${port}/healthz`)).ok) return;
    } catch {
      // Not listening yet.
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  throw new Error("the server did not come up");
}
