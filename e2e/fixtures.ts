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

/** A server on a Postgres of its own, and the database, so that a test can make what it needs. */
export type PostgresServer = ServerProcess & { databaseUrl: string; db: Database };

type Shared = {
  upstream: FakeUpstream;
  /** On the embedded database with demo data; the fake upstream answers. */
  server: ServerProcess;
  /** The same without a provider: the simulator answers. */
  simulatedServer: ServerProcess;
  /** On a real Postgres with demo data; the fake upstream answers. */
  postgresServer: PostgresServer;
};

type Own = {
  /** What is left to do when everything else of the test has ended. */
  atTheEnd: (() => Promise<void>)[];
  /** An empty, migrated Postgres database of this test alone. */
  ownDatabase: { url: string; db: Database };
  /** Starts a server for this test alone, without pages; when the test is over it is stopped and its books are checked. */
  start(options?: ServerOptions): Promise<ServerProcess>;
};

/**
 * Servers are started once in a worker and shared by its tests, which keep out of
 * each other's way by making users, apps and keys of their own. At the end of its
 * life every server has to stop on its own, with books that verify, no hold left
 * open, and a log without errors or secrets.
 */
export const test = base.extend<Own, Shared & { launchOptions: LaunchOptions }>({
  launchOptions: [async ({}, use) => use(chromiumLaunchOptions()), { scope: "worker" }],

  // What is pressed before a page's scripts are there does nothing; people wait for that, and so do tests.
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
    // Servers of the test that still run on it come first.
    atTheEnd.push(own.close);
    await use(own);
  },

  // Named so that it ends before what is left for the end.
  start: async ({ atTheEnd: _ }, use) => {
    const started: { server: ServerProcess; options: ServerOptions }[] = [];
    await use(async (options = {}) => {
      const server = await startServer({ pages: false, ...options });
      started.push({ server, options });
      return server;
    });
    // The youngest first: it may run on the files of an older one.
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
