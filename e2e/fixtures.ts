// biome-ignore-all lint/correctness/noEmptyPattern: Playwright reads what a fixture needs from this pattern, and takes no other for none.
import path from "node:path";
import { test as base, type LaunchOptions } from "@playwright/test";
import { migrate } from "../prisma/migrate.ts";
import { type Database, openDatabase } from "../src/server/platform/db.ts";
import { type FakeUpstream, startFakeUpstream } from "../src/testing/fake-upstream.ts";
import { freshDatabase } from "../src/testing/postgres.ts";
import { forget, type ServerOptions, type ServerProcess, startServer } from "../src/testing/server-process.ts";
import { chromiumLaunchOptions } from "./chromium.ts";
import { expectBooksInOrder, expectCleanOutput, expectToStop } from "./in-order.ts";

/** A server on a Postgres of its own, and its database for creating test data. */
export type PostgresServer = ServerProcess & { databaseUrl: string; db: Database };

type Shared = {
  upstream: FakeUpstream;
  /** A server on the embedded database with demo data, and the fake upstream as provider. */
  server: ServerProcess;
  /** A server on the embedded database without a provider, so with the simulator. */
  simulatedServer: ServerProcess;
  /** A server on a real Postgres with demo data, and the fake upstream as provider. */
  postgresServer: PostgresServer;
};

type Own = {
  /** Functions to run after everything else of the test has ended. */
  atTheEnd: (() => Promise<void>)[];
  /** An empty, migrated Postgres database for this test. */
  ownDatabase: { url: string; db: Database };
  /** Starts a server for this test, without pages; after the test it is stopped and its books are verified. */
  start(options?: ServerOptions): Promise<ServerProcess>;
};

/**
 * Each worker starts its servers once, and its tests share them; each test makes users, apps and keys of
 * its own. At the end every server has to stop, with books that verify, no open hold, and a log
 * without errors or secrets.
 */
export const test = base.extend<Own, Shared & { launchOptions: LaunchOptions }>({
  launchOptions: [async ({}, use) => use(chromiumLaunchOptions()), { scope: "worker" }],

  // A click before a page's scripts have loaded has no effect, so navigation waits for them.
  browser: [
    async ({ browser }, use) => {
      const newContext = browser.newContext.bind(browser);
      browser.newContext = async (options) => {
        const context = await newContext(options);
        context.on("page", (page) => void page.addLocatorHandler(page.locator("html[data-hydrating]"), async () => {}).catch(() => {}));
        return context;
      };
      await use(browser);
    },
    { scope: "worker" },
  ],

  upstream: [
    async ({}, use) => {
      const upstream = await startFakeUpstream();
      await use(upstream);
      await upstream.close();
    },
    { scope: "worker" },
  ],

  server: [
    async ({ upstream }, use) => {
      const server = await startServer({ upstream });
      await use(server);
      await endInOrder(server, { dataDir: path.join(server.dataDir, "db") }, upstream);
    },
    { scope: "worker", timeout: 120_000 },
  ],

  simulatedServer: [
    async ({}, use) => {
      const server = await startServer();
      await use(server);
      await endInOrder(server, { dataDir: path.join(server.dataDir, "db") });
    },
    { scope: "worker", timeout: 120_000 },
  ],

  postgresServer: [
    async ({ upstream }, use) => {
      const { url, db, close } = await openFreshDatabase();
      const server = await startServer({ upstream, databaseUrl: url, env: { QUOTA_SANDBOX_CHECKOUT: "on" } });
      await use({ ...server, databaseUrl: url, db });
      await endInOrder(server, { url }, upstream).finally(close);
    },
    { scope: "worker", timeout: 120_000 },
  ],

  atTheEnd: async ({}, use) => {
    const work: (() => Promise<void>)[] = [];
    await use(work);
    for (const each of work.reverse()) await each();
  },

  ownDatabase: async ({ atTheEnd }, use) => {
    const own = await openFreshDatabase();
    // Runs after the test's servers on this database have been stopped.
    atTheEnd.push(own.close);
    await use(own);
  },

  // Depends on atTheEnd, so that it is torn down before.
  start: async ({ atTheEnd: _ }, use) => {
    const started: { server: ServerProcess; options: ServerOptions }[] = [];
    await use(async (options = {}) => {
      const server = await startServer({ pages: false, ...options });
      started.push({ server, options });
      return server;
    });
    // The newest first: it may use the files of an older one.
    for (const { server, options } of started.reverse()) {
      if (!server.killed()) await expectToStop(server);
      expectCleanOutput(server, options.upstream);
    }
    const homes = new Map<string, { url?: string; dataDir?: string }>();
    for (const { server, options } of started) {
      if (options.databaseUrl === undefined) homes.set(server.dataDir, { dataDir: path.join(server.dataDir, "db") });
      else homes.set(options.databaseUrl, { url: options.databaseUrl });
    }
    for (const home of homes.values()) await expectBooksInOrder(home);
    for (const { server } of started) await forget(server);
  },
});

export { expect } from "@playwright/test";

async function endInOrder(server: ServerProcess, database: { url?: string; dataDir?: string }, upstream?: FakeUpstream): Promise<void> {
  await expectToStop(server);
  expectCleanOutput(server, upstream);
  await expectBooksInOrder(database);
  await forget(server);
}

async function openFreshDatabase(): Promise<{ url: string; db: Database; close(): Promise<void> }> {
  const { url, drop } = await freshDatabase(process.env.QUOTA_E2E_POSTGRES_URL as string);
  const db = await openDatabase({ url });
  await migrate(db);
  return {
    url,
    db,
    async close() {
      await db.close();
      await drop();
    },
  };
}
