import { type ChildProcess, fork } from "node:child_process";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { cpus } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import pg from "pg";
import { freshDatabase, startPostgres } from "../src/testing/postgres.ts";
import type { CourierOrder } from "./courier.ts";
import { cpuMs, postgresPids } from "./cpu.ts";
import { median, milliseconds, quantile, spread } from "./figures.ts";

/**
 * `npm run bench:webhooks`: how fast couriers empty a backlog into a receiver on this machine that takes
 * everything, what a delivery costs in CPU, and how long after its commit an event arrives when there is
 * nothing else to do. `--beside DIR` lets the courier of another checkout, with its dependencies there,
 * take turns on a database of its own. Ends with 1 when an event did not arrive, or one arrived twice.
 */
const { values: options } = parseArgs({
  options: {
    backlog: { type: "string", default: "20000" },
    rounds: { type: "string", default: "3" },
    samples: { type: "string", default: "50" },
    beside: { type: "string" },
    only: { type: "string", default: "" },
  },
});
const backlog = Number(options.backlog);
const here = path.dirname(fileURLToPath(import.meta.url));
const CASES = [
  { name: "1 endpoint, 1 server", endpoints: 1, servers: 1 },
  { name: "8 endpoints, 1 server", endpoints: 8, servers: 1 },
  { name: "8 endpoints, 2 servers", endpoints: 8, servers: 2 },
];

/** What is measured: the couriers of one checkout. */
type Side = { name: string; root: string };
type Drained = { perSecond: number; serverMs: number | null; postgresMs: number | null };
/** What arrived, by the address's path and the event's id. */
type Arrivals = Map<string, { times: number; at: number }>;

let arrivals: Arrivals = new Map();
let noteArrival = () => {};
const receiver = createServer((incoming, outgoing) => {
  const parts: Buffer[] = [];
  incoming.on("data", (part: Buffer) => parts.push(part));
  incoming.on("end", () => {
    const at = performance.timeOrigin + performance.now();
    outgoing.writeHead(204).end();
    const key = `${incoming.url} ${JSON.parse(Buffer.concat(parts).toString()).data.external_user_id}`;
    arrivals.set(key, { times: (arrivals.get(key)?.times ?? 0) + 1, at });
    noteArrival();
  });
});
await new Promise<void>((resolve) => receiver.listen(0, "127.0.0.1", resolve));
const receiverUrl = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}`;
const children = new Set<ChildProcess>();
const postgres = await startPostgres();

try {
  await main();
} finally {
  for (const child of children) child.kill("SIGKILL");
  receiver.closeAllConnections();
  receiver.close();
  await postgres.stop();
}

async function main(): Promise<void> {
  console.log(
    `${cpus().length} cores (${cpus()[0]?.model}), Node ${process.version}; ${backlog} deliveries, ${options.rounds} rounds, medians [lowest to highest]`,
  );
  const sides: Side[] = [{ name: "this", root: path.join(here, "..") }];
  if (options.beside !== undefined) sides.push({ name: "beside", root: path.resolve(options.beside) });
  for (const { name, endpoints, servers } of CASES.filter((each) => each.name.includes(options.only))) {
    const drained = new Map(sides.map((side) => [side.name, [] as Drained[]]));
    for (let round = 0; round < Number(options.rounds); round++)
      for (const side of round % 2 === 0 ? sides : [...sides].reverse())
        drained.get(side.name)?.push(await withDatabase((url) => drain(side, url, endpoints, servers)));
    console.log(`\n${name}`);
    for (const [side, list] of drained)
      console.log(
        `  ${side.padEnd(7)} ${spread(
          list.map(({ perSecond }) => perSecond),
          0,
        )} deliveries/s   CPU per delivery: servers ${milliseconds(list.map(({ serverMs }) => serverMs))}, Postgres ${milliseconds(list.map(({ postgresMs }) => postgresMs))}`,
      );
    const [mine, theirs] = [drained.get("this") ?? [], drained.get("beside")];
    if (theirs !== undefined)
      console.log(`  this is ${spread(mine.map((each, at) => each.perSecond / (theirs[at]?.perSecond ?? 1)))} of beside`);
  }
  if (!"idle".includes(options.only)) return;
  console.log("\nidle: from an event's commit to its arrival");
  for (const side of sides) {
    const waits = await withDatabase((url) => idle(side, url));
    console.log(`  ${side.name.padEnd(7)} median ${median(waits).toFixed(1)} ms, p99 ${quantile(waits, 0.99).toFixed(1)} ms`);
  }
}

/** Fills the outbox, starts the couriers, and waits until all is written down as delivered. */
async function drain(side: Side, url: string, endpoints: number, servers: number): Promise<Drained> {
  const couriers = await Promise.all(Array.from({ length: servers }, () => startCourier(side, url)));
  const appId = await couriers[0]?.ask({ kind: "open", urls: paths(endpoints) });
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(
    `INSERT INTO outbox_event (id, app_id, type, data)
     SELECT overlay(gen_random_uuid()::text PLACING left($1::text, 15) FROM 1 FOR 15)::uuid, $2::uuid, 'user.connected',
       jsonb_build_object('user_id', gen_random_uuid(), 'external_user_id', 'user_' || n, 'connected_at', '2026-11-29T00:00:00.000Z')
     FROM generate_series(1, $3::int) n`,
    [`019ae0f0-0000-7000-8000-000000000000`, appId, backlog / endpoints],
  );
  await client.query("CHECKPOINT");
  arrivals = new Map();
  const arrived = new Promise<void>((resolve) => {
    noteArrival = () => arrivals.size === backlog && resolve();
  });
  const pids = couriers.map(({ pid }) => pid);
  const before = { server: cpuMs(pids), postgres: cpuMs(postgresPids(postgres.dataDir)), at: performance.now() };
  await Promise.all(couriers.map(({ ask }) => ask({ kind: "start" })));
  await arrived;
  for (;;) {
    const { rows } = await client.query("SELECT EXISTS (SELECT 1 FROM webhook_delivery WHERE status <> 'succeeded') AS pending");
    if (rows[0].pending === false) break;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const seconds = (performance.now() - before.at) / 1000;
  const after = { server: cpuMs(pids), postgres: cpuMs(postgresPids(postgres.dataDir)) };
  await client.end();
  await Promise.all(couriers.map(({ end }) => end()));
  const twice = [...arrivals.values()].filter(({ times }) => times > 1).length;
  if (twice > 0) {
    console.log(`NOT as it should be: ${twice} events of ${side.name} arrived more than once`);
    process.exitCode = 1;
  }
  const per = (start: number | null, end: number | null) => (start === null || end === null ? null : (end - start) / backlog);
  return { perSecond: backlog / seconds, serverMs: per(before.server, after.server), postgresMs: per(before.postgres, after.postgres) };
}

/** One event at a time, each after the one before has arrived: how long each took, in milliseconds. */
async function idle(side: Side, url: string): Promise<number[]> {
  const courier = await startCourier(side, url);
  const appId = String(await courier.ask({ kind: "open", urls: paths(1) }));
  await courier.ask({ kind: "start" });
  const waits: number[] = [];
  // The first ones open connections and prepare statements.
  for (let sample = -5; sample < Number(options.samples); sample++) {
    arrivals = new Map();
    const arrived = new Promise<void>((resolve) => {
      noteArrival = resolve;
    });
    const committedAt = Number(await courier.ask({ kind: "emit", appId, externalUserId: "someone" }));
    await arrived;
    const [arrival] = arrivals.values();
    if (sample >= 0) waits.push((arrival?.at ?? Number.NaN) - committedAt);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await courier.end();
  return waits;
}

function paths(count: number): string[] {
  return Array.from({ length: count }, (_, at) => `${receiverUrl}/${at}`);
}

async function withDatabase<T>(work: (url: string) => Promise<T>): Promise<T> {
  const fresh = await freshDatabase(postgres.url, "UTC");
  try {
    return await work(fresh.url);
  } finally {
    await fresh.drop();
  }
}

async function startCourier(side: Side, url: string) {
  const child = fork(path.join(here, "courier.ts"), [side.root, url], { stdio: ["ignore", "ignore", "inherit", "ipc"] });
  children.add(child);
  const heard = () =>
    new Promise<unknown>((resolve, reject) => {
      const ended = (code: number | null) => reject(new Error(`a courier ended with ${code}`));
      child.once("exit", ended);
      child.once("message", ({ answer }: { answer: unknown }) => {
        child.off("exit", ended);
        resolve(answer);
      });
    });
  await heard();
  const ask = (order: CourierOrder) => {
    const answer = heard();
    child.send(order);
    return answer;
  };
  return {
    pid: child.pid ?? 0,
    ask,
    async end() {
      await ask({ kind: "stop" });
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGKILL");
      await ended;
      children.delete(child);
    },
  };
}
