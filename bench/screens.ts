import { parseArgs } from "node:util";
import { migrate } from "../prisma/migrate.ts";
import { verify } from "../src/server/ledger/verify.ts";
import { openDatabase, theDatabase } from "../src/server/platform/db.ts";
import { firstIdAt, requestIdOf } from "../src/server/platform/ids.ts";
import type { createCaller as CreateCaller } from "../src/server/trpc/root.ts";
import { sumRequests, sumUsage } from "../src/server/usage/reports.ts";
import { refoldUsage } from "../src/server/usage/rollup.ts";
import { makeApp, makeKey, makeUser } from "../src/testing/makers.ts";
import { freshDatabase, startPostgres } from "../src/testing/postgres.ts";
import { cpuMs, postgresPids } from "./cpu.ts";
import { median } from "./figures.ts";
import { seedUsage } from "./seed-usage.ts";

/**
 * `npm run bench:screens`: the time of the queries of each dashboard screen, with a million requests
 * of one app in the database. The rows are those that the ledger would have written; `verify` runs at
 * the end.
 */
const { values: options } = parseArgs({
  options: {
    rows: { type: "string", default: "1000000" },
    users: { type: "string", default: "10000" },
    days: { type: "string", default: "90" },
    rounds: { type: "string", default: "15" },
  },
});
const rows = Number(options.rows);
const users = Number(options.users);
const days = Number(options.days);
const rounds = Number(options.rounds);

const postgres = await startPostgres();
const fresh = await freshDatabase(postgres.url);
const db = await openDatabase({ url: fresh.url });
try {
  await main();
} finally {
  await db.close();
  await fresh.drop();
  await postgres.stop();
}

async function main(): Promise<void> {
  await migrate(db);
  const owner = await makeUser(db, { credits: 1_000_000_000n });
  const app = await makeApp(db, { ownerId: owner.id, markupBps: 2_000 });
  const keys = [await makeKey(db, app.id, "user"), await makeKey(db, app.id, "user"), await makeKey(db, app.id)];
  await timed(`${rows} requests of ${users} linked users in ${days} days`, () =>
    seedUsage(db, { ...app, keyIds: keys.map((key) => key.id) }, { rows, users, days }),
  );
  await db.withoutTimeLimit((sql) => sql.query({ name: "vacuum", text: "VACUUM ANALYZE" }, []));
  await timed("folding them", () => refoldUsage(db));
  await db.withoutTimeLimit((sql) => sql.query({ name: "analyze", text: "VACUUM ANALYZE" }, []));

  // `database()` returns this one.
  theDatabase.opened = Promise.resolve(db);
  const { createCaller } = (await import("../src/server/trpc/root.ts")) as { createCaller: typeof CreateCaller };
  const me = createCaller({ user: { id: owner.id, email: owner.email, walletId: owner.walletId } });
  const appId = app.id;
  const [user] = (await me.linkedUsers.list({ appId, take: 1 })).items;
  const recent = (await me.usage.requests({ appId, take: 50 })).items;
  const request = recent.at(-1);
  if (user === undefined || request === undefined) throw new Error("nothing was seeded");
  const linkedUserId = user.id;
  const externalUserId = user.externalUserId;
  const filter = { appId, test: false };

  const screens: [string, () => Promise<unknown>][] = [
    ["Overview", () => Promise.all([me.usage.overview({ appId }), me.usage.requests({ appId, take: 8 })])],
    ["  usage.overview", () => me.usage.overview({ appId })],
    [
      "Usage, 30 days",
      () =>
        Promise.all([
          me.usage.choices({ appId }),
          me.usage.report({ appId }),
          me.usage.requests({ appId, period: "30d" }),
          me.usage.breakdown({ appId, by: "model" }),
        ]),
    ],
    ["  usage.choices", () => me.usage.choices({ appId })],
    ["  usage.report, today", () => me.usage.report({ appId, period: "today" })],
    ["  usage.report, 30 days", () => me.usage.report({ appId })],
    ["  usage.report, 90 days", () => me.usage.report({ appId, period: "90d" })],
    ["  usage.report, one user and model", () => me.usage.report({ appId, externalUserId, model: "gpt-4o" })],
    ["  usage.breakdown by model, 90 days", () => me.usage.breakdown({ appId, by: "model", period: "90d" })],
    ["  usage.breakdown by key, 90 days", () => me.usage.breakdown({ appId, by: "key", period: "90d" })],
    ["  usage.breakdown by user, 7 days", () => me.usage.breakdown({ appId, by: "user", period: "7d" })],
    ["  usage.breakdown by user, 30 days", () => me.usage.breakdown({ appId, by: "user" })],
    ["  usage.breakdown by user, 90 days", () => me.usage.breakdown({ appId, by: "user", period: "90d" })],
    ["  usage.requests, newest", () => me.usage.requests({ appId })],
    ["  usage.requests, from the middle", () => me.usage.requests({ appId, cursor: middle() })],
    ["  usage.requests of one model", () => me.usage.requests({ appId, model: "gpt-4o", period: "90d" })],
    ["  usage.requests of a rarely used model", () => me.usage.requests({ appId, model: "o3", period: "90d" })],
    ["  usage.requests that failed", () => me.usage.requests({ appId, outcome: "failed", period: "90d" })],
    ["  usage.requests of one user", () => me.usage.requests({ appId, externalUserId })],
    ["  usage.requests by id", () => me.usage.requests({ appId, requestId: requestIdOf(request.id) })],
    ["Linked users", () => me.linkedUsers.list({ appId })],
    ["  found by a part of the id", () => me.linkedUsers.list({ appId, search: "er_77" })],
    ["  found by e-mail", () => me.linkedUsers.list({ appId, search: "person_4242@" })],
    ["  no user found", () => me.linkedUsers.list({ appId, search: "nobody at all" })],
    [
      "One linked user",
      () =>
        Promise.all([
          me.linkedUsers.get({ appId, linkedUserId }),
          me.usage.report({ appId, externalUserId }),
          me.usage.requests({ appId, externalUserId }),
        ]),
    ],
    ["Earnings, 30 days", () => Promise.all([me.earnings.balance({ appId }), me.earnings.report({ appId })])],
    ["  earnings.balance", () => me.earnings.balance({ appId })],
    ["Developer wallet", () => Promise.all([me.developerWallet.overview(), me.developerWallet.statement({})])],
    ["GET /v1/usage?group_by=day", () => sumUsage(db, filter, "day")],
    ["GET /v1/usage?group_by=model", () => sumUsage(db, filter, "model")],
    ["GET /v1/usage?group_by=user", () => sumUsage(db, filter, "user")],
    ["For comparison, without sums: by day", () => sumRequests(db, filter, "day")],
    ["· by user", () => sumRequests(db, filter, "user")],
  ];
  console.log("\n| Screen or procedure | median | highest | CPU, both |\n|---|---|---|---|");
  for (const [name, ask] of screens) {
    await ask();
    const times: number[] = [];
    const before = bothCpuMs();
    for (let round = 0; round < rounds; round++) {
      const begun = performance.now();
      await ask();
      times.push(performance.now() - begun);
    }
    const cpu = (bothCpuMs() - before) / rounds;
    console.log(
      `| ${name.replace("  ", "· ")} | ${median(times).toFixed(1)} ms | ${Math.max(...times).toFixed(1)} ms | ${cpu < 0 ? "several processes" : `${cpu.toFixed(0)} ms`} |`,
    );
  }
  const books = await db.withoutTimeLimit((sql) => verify(sql));
  console.log(`\n${books.usages} requests, ${books.openHolds} open holds, books ${books.ok ? "in order" : "NOT in order"}`);
  if (!books.ok) {
    console.error(books.discrepancies.slice(0, 5));
    process.exitCode = 1;
  }
}

/** CPU time of this process and PostgreSQL so far: other processes of the machine do not count. */
function bothCpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000 + (cpuMs(postgresPids(postgres.dataDir)) ?? Number.NaN);
}

/** An id of the middle of the period. */
function middle(): string {
  return firstIdAt(Date.now() - (days / 2) * 86_400_000);
}

async function timed(what: string, work: () => Promise<unknown>): Promise<void> {
  const begun = performance.now();
  await work();
  console.log(`${what}: ${((performance.now() - begun) / 1000).toFixed(1)} s`);
}
