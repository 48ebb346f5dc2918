import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { migrate } from "../prisma/migrate.ts";
import type { HoldRequest, Settlement } from "../src/server/ledger/hold.ts";
import { openLedger } from "../src/server/ledger/ledger.ts";
import { verify } from "../src/server/ledger/verify.ts";
import { openDatabase } from "../src/server/platform/db.ts";
import { holdRequest, settlement } from "../src/testing/ledger-requests.ts";
import { makeApp, makeKey, makeLink, makeUser } from "../src/testing/makers.ts";
import { freshDatabase, startPostgres } from "../src/testing/postgres.ts";
import { cpuMs, postgresPids } from "./cpu.ts";
import { median, milliseconds, quantile, spread } from "./figures.ts";
import { openPlainLedger } from "./plain-ledger.ts";

/**
 * `npm run bench:ledger`: the ledger without a gateway. Each caller holds and settles one request
 * after the other, on a real Postgres with durable commits. In turns within one run:
 *
 * - `plain`: a hold and a settlement are a commit each (`plain-ledger.ts`);
 * - `batched`: the ledger as the gateway uses it.
 *
 * Exits with 1 when the books do not balance afterwards.
 */
const CONNECTIONS = 16;
const WALLETS = 1_000;
const CALLERS = [1, 16, 64];

const { values: options } = parseArgs({
  options: { rounds: { type: "string", default: "5" }, seconds: { type: "string", default: "2" } },
});
const rounds = Number(options.rounds);
const seconds = Number(options.seconds);

type Contender = { name: string; hold(request: HoldRequest): Promise<boolean>; settle(settlement: Settlement): Promise<boolean> };
type Measured = { pairs: number; rate: number; p50: number; p99: number; postgresMs: number | null; nodeMs: number };

const postgres = await startPostgres();
const fresh = await freshDatabase(postgres.url);
const db = await openDatabase({ url: fresh.url });
const plainLedger = openPlainLedger(fresh.url, CONNECTIONS);
try {
  await main();
} finally {
  await plainLedger.close();
  await db.close();
  await fresh.drop();
  await postgres.stop();
}

async function main(): Promise<void> {
  await migrate(db);
  const [version] = await db.sql.query({ name: "v", text: "SHOW server_version" }, []);
  console.log(
    `${cpus().length} cores (${cpus()[0]?.model}), Node ${process.version}, PostgreSQL ${version?.server_version}, fsync and synchronous_commit on; ${rounds} rounds of ${seconds} s each, medians [lowest to highest]`,
  );
  console.log(`plain: a commit for each hold and each settlement, ${CONNECTIONS} connections; batched: as the gateway uses it\n`);

  const app = await makeApp(db, { markupBps: 2_000 });
  const key = await makeKey(db, app.id);
  const wallets: string[] = [];
  for (let index = 0; index < WALLETS; index++) wallets.push(await makeWallet(app.id, index % 2 === 0));
  const loads = [
    { name: "1,000 wallets, every second with a monthly limit", users: wallets },
    { name: "one wallet, with a monthly limit", users: [await makeWallet(app.id, true)] },
  ];
  await db.withoutTimeLimit((sql) => sql.query({ name: "", text: "VACUUM ANALYZE" }, []));

  const batchedLedger = openLedger(db);
  const plain: Contender = {
    name: "plain",
    hold: async (request) => (await plainLedger.hold(request)) !== null,
    settle: async (settlement) => (await plainLedger.settle(settlement)) !== null,
  };
  const batched: Contender = {
    name: "batched",
    hold: async (request) => (await batchedLedger.hold(request)).kind === "held",
    settle: async (settlement) => (await batchedLedger.settle(settlement, 60_000)).kind === "settled",
  };

  let pairs = 0;
  for (const load of loads) {
    for (const callers of CALLERS) {
      const measured = new Map<Contender, Measured[]>([
        [plain, []],
        [batched, []],
      ]);
      for (const each of measured.keys()) pairs += (await run(each, key, load.users, callers, 0.5)).pairs;
      for (let round = 0; round < rounds; round++) {
        // The order alternates between rounds.
        for (const each of round % 2 === 0 ? [plain, batched] : [batched, plain]) {
          const result = await run(each, key, load.users, callers, seconds);
          measured.get(each)?.push(result);
          pairs += result.pairs;
        }
      }
      report(`${load.name}; ${callers} ${callers === 1 ? "caller" : "callers"}`, measured, plain, batched);
    }
  }

  const books = await db.withoutTimeLimit((sql) => verify(sql));
  const ok = books.ok && books.openHolds === 0 && books.usages === pairs;
  console.log(
    `${pairs} pairs, ${books.usages} requests billed, ${books.openHolds} open holds; the books are ${books.ok ? "in order" : `NOT in order: ${JSON.stringify(books.discrepancies.slice(0, 5))}`}.`,
  );
  if (!ok) process.exitCode = 1;
}

async function makeWallet(appId: string, limited: boolean): Promise<string> {
  const user = await makeUser(db, { credits: 1_000_000_000n });
  return (await makeLink(db, appId, user, limited ? { monthlyLimit: 900_000_000n } : {})).externalUserId;
}

async function run(
  contender: Contender,
  key: { hash: Uint8Array },
  users: readonly string[],
  callers: number,
  forSeconds: number,
): Promise<Measured> {
  const took: number[] = [];
  let turn = 0;
  const before = { postgres: cpuMs(postgresPids(postgres.dataDir)), node: process.cpuUsage(), at: performance.now() };
  const endAt = before.at + forSeconds * 1_000;
  await Promise.all(
    Array.from({ length: callers }, async () => {
      while (performance.now() < endAt) {
        // In steps of 7, so that successive requests are not neighbours in the tables.
        turn += 7;
        const request = holdRequest(key, { externalUserId: users[turn % users.length] as string, desiredBase: 100n, minimumBase: 10n });
        const startedAt = performance.now();
        if (!(await contender.hold(request))) throw new Error(`${contender.name} refused a request`);
        if (!(await contender.settle(settlement(request.id, 50n, 10n)))) throw new Error(`${contender.name} did not settle a request`);
        took.push(performance.now() - startedAt);
      }
    }),
  );
  const elapsed = (performance.now() - before.at) / 1_000;
  const node = process.cpuUsage(before.node);
  const after = cpuMs(postgresPids(postgres.dataDir));
  return {
    pairs: took.length,
    rate: took.length / elapsed,
    p50: quantile(took, 0.5),
    p99: quantile(took, 0.99),
    postgresMs: before.postgres === null || after === null ? null : (after - before.postgres) / took.length,
    nodeMs: (node.user + node.system) / 1_000 / took.length,
  };
}

function report(title: string, measured: Map<Contender, Measured[]>, plain: Contender, batched: Contender): void {
  console.log(title);
  for (const [{ name }, list] of measured) {
    const p50 = median(list.map((each) => each.p50)).toFixed(2);
    const p99 = median(list.map((each) => each.p99)).toFixed(2);
    const cpu = `Postgres ${milliseconds(list.map((each) => each.postgresMs))}, node ${milliseconds(list.map((each) => each.nodeMs))}`;
    const rate = spread(
      list.map((each) => each.rate),
      0,
    );
    console.log(`  ${name.padEnd(7)} ${rate} pairs/s   p50 ${p50} ms   p99 ${p99} ms   CPU per pair: ${cpu}`);
  }
  const rates = (contender: Contender) => (measured.get(contender) ?? []).map((each) => each.rate);
  const theirs = rates(plain);
  console.log(`  batched is ${spread(rates(batched).map((rate, round) => rate / (theirs[round] ?? Number.NaN)))} times plain\n`);
}
