import { mkdirSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { generateClient } from "../../prisma/generate.ts";
import { env, publicUrl } from "../env.ts";
import { log } from "./platform/log.ts";
import type { Sql } from "./platform/sql.ts";
import { parentGone } from "./start/parent.ts";
import { isOneOfSeveral, reportListening, superviseProcesses } from "./start/processes.ts";

/**
 * `npm start`: prepares what is missing (Prisma's client, migrations, the build, demo data) and
 * serves until SIGTERM or SIGINT. With QUOTA_PROCESSES this process prepares and supervises, and
 * that many processes serve on one port.
 */
/** Time limit after the last request for stopping jobs, pages and the database. */
const CLOSE_WITHIN_MS = 20_000;

process.env.NEXT_TELEMETRY_DISABLED = "1";
const development = process.argv.includes("--dev");
if (!development) (process.env as Record<string, string>).NODE_ENV ??= "production";

try {
  await (isOneOfSeveral() ? serve(null) : start());
} catch (error) {
  console.error(`\nQuota could not start: ${reasonOf(error)}`);
  if (env.NODE_ENV === "development") console.error(error);
  // The embedded database is closed in any case, so that its next start needs no recovery.
  await import("./platform/db.ts").then(({ closeDatabase }) => closeDatabase()).catch(() => {});
  process.exit(1);
}

function reasonOf(error: unknown): string {
  if ((error as NodeJS.ErrnoException).code === "EADDRINUSE") return `port ${env.PORT} is in use. Set PORT to another one.`;
  return error instanceof Error ? error.message : String(error);
}

async function start(): Promise<void> {
  const since = Date.now();
  const step = (text: string) => console.log(`[${((Date.now() - since) / 1000).toFixed(1).padStart(5)} s] ${text}`);

  if (generateClient()) step("Made the database client.");
  // The modules below import that client, so they are loaded only now.
  const { closeDatabase, database } = await import("./platform/db.ts");
  const { migrate } = await import("../../prisma/migrate.ts");

  mkdirSync(env.QUOTA_DATA_DIR, { recursive: true });
  step(env.DATABASE_URL === undefined ? `Opening the embedded database in ${env.QUOTA_DATA_DIR}/ …` : "Connecting to Postgres …");
  const db = await database();
  await db.check();
  if (db.kind === "postgres") await checkEncoding(db.sql);
  const applied = await migrate(db);
  step(applied.length === 0 ? "The database is up to date." : `Migrated the database: ${applied.join(", ")}.`);

  // Before the sweep, which would return the holds of these settlements at no charge.
  const { KeptSettlements } = await import("./ledger/kept.ts");
  const { entered, late } = await new KeptSettlements().enter(db.sql);
  if (entered + late > 0) step(`Entered ${entered} bills that were kept on disk${late > 0 ? `; ${late} came too late` : ""}.`);

  if (db.kind === "embedded") {
    // An embedded database belongs to one process, so every hold was left by a process that has ended.
    const { sweepAtStart } = await import("./ledger/sweep.ts");
    const swept = await sweepAtStart(db.sql);
    if (swept > 0) step(`Returned the credits of ${swept} requests that were under way when the server last stopped.`);
  }

  const wantsDemo = env.QUOTA_DEMO === undefined ? db.kind === "embedded" : env.QUOTA_DEMO === "1";
  const demo = wantsDemo ? await (await import("../../prisma/seed.ts")).seedDemo(db) : null;

  if (!development) {
    const { ensureBuild } = await import("./start/build.ts");
    if (await ensureBuild(() => step("Building the pages (about half a minute, once) …"))) step("Built the pages.");
  }

  const { sandboxCreditsWarning } = await import("./payments/sandbox-credits.ts");
  const warning = await sandboxCreditsWarning(db.sql);

  const { welcome } = await import("./start/welcome.ts");
  const greet = async (port: number) => {
    step(`Listening on ${env.HOST}:${port}.`);
    console.log(await welcome(demo));
    if (warning !== null) console.warn(`  ${warning}\n`);
  };
  if (env.QUOTA_PROCESSES === 1) return serve(greet);
  if (db.kind === "embedded") throw new Error("the embedded database serves one process. Set DATABASE_URL, or leave QUOTA_PROCESSES at 1.");
  await closeDatabase();
  await superviseProcesses(env.QUOTA_PROCESSES, greet);
}

/** The server relies on UTF-8: names and ids are counted and compared in characters. */
async function checkEncoding(sql: Sql): Promise<void> {
  const [row] = await sql.query({ name: "encoding", text: "SHOW server_encoding" }, []);
  if (row?.server_encoding === "UTF8") return;
  throw new Error(
    `the database's encoding is ${String(row?.server_encoding)}. Make one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0.`,
  );
}

/** Serves in this process until it gets a signal to stop. */
async function serve(greet: ((port: number) => Promise<void>) | null): Promise<void> {
  const { closeDatabase, database } = await import("./platform/db.ts");
  const db = await database();
  process.env.NEXTAUTH_URL ??= publicUrl();
  const { pageHandler } = await import("./start/pages.ts");
  const { loadRoutes } = await import("./start/routes.ts");
  const { createQuotaServer } = await import("./start/listen.ts");
  const { startDeliveries } = await import("./jobs/deliveries.ts");
  const { startHousekeeping } = await import("./jobs/housekeeping.ts");
  const { startPaymentJobs } = await import("./jobs/payments.ts");
  const pages = await pageHandler({ development });
  const server = createQuotaServer(await loadRoutes(), pages);

  // Before the server listens, so that a signal right after the first answer stops it in order.
  let background: Promise<{ stop(): Promise<void> }[]> = Promise.resolve([]);
  let stopping = false;
  const stopOnce = () => {
    if (stopping) return;
    stopping = true;
    void stop();
  };
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      if (!stopping) stopOnce();
      else if (!isOneOfSeveral()) process.exit(1);
      // A terminal or supervisor signals every process of the group, and the first process forwards the signal to the others.
    });
  }
  // The supervisor, or npm, has ended.
  if (isOneOfSeveral()) {
    if (!process.connected) stopOnce();
    process.once("disconnect", stopOnce);
  } else void parentGone().then(stopOnce);
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ port: env.PORT, host: env.HOST, reusePort: isOneOfSeveral() }, resolve);
  });
  reportListening();
  if (stopping) return;
  const { port } = server.address() as AddressInfo;
  background = Promise.all([
    startHousekeeping(db, { longestRequestMs: env.QUOTA_REQUEST_TIMEOUT_MS }),
    startPaymentJobs(db, { longestRequestMs: env.QUOTA_REQUEST_TIMEOUT_MS }),
    startDeliveries(db),
  ]);
  await background;
  if (!stopping) await greet?.(port);

  async function stop(): Promise<void> {
    const { openSales } = await import("./gateway/sale.ts");
    const { ledger } = await import("./ledger/ledger.ts");
    console.log("Stopping: no new requests, waiting for those under way …");
    let closed = false;
    server.close(() => {
      closed = true;
    });
    server.closeIdleConnections();
    const deadline = performance.now() + env.QUOTA_SHUTDOWN_TIMEOUT_MS;
    while (performance.now() < deadline && (!closed || openSales() > 0 || (await ledger()).unsettled > 0)) {
      await new Promise((resolve) => setTimeout(resolve, 25));
      server.closeIdleConnections();
    }
    const left = openSales();
    if (left > 0) console.error(`${left} requests did not end in time; their holds are returned by the sweeper.`);
    server.closeAllConnections();
    // A statement that the database has not answered within the limit ends with its connection, and its
    // transaction rolls back, so nothing is lost on Postgres; the embedded database is not closed cleanly.
    setTimeout(() => {
      log.warn("the work in the background did not end in time");
      process.exit(left > 0 || db.kind === "embedded" ? 1 : 0);
    }, CLOSE_WITHIN_MS).unref();
    await Promise.all((await background).map((each) => each.stop()));
    await pages.close();
    await closeDatabase();
    process.exit(left > 0 ? 1 : 0);
  }
}
