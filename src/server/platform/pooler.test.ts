import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import pg from "pg";
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from "vitest";
import { env } from "#env";
import { asTheDatabase } from "#testing/database.ts";
import { makeApp } from "#testing/makers.ts";
import { type PgBouncerOptions, startPgBouncer } from "#testing/pgbouncer.ts";
import { freePort, freshDatabase } from "#testing/postgres.ts";
import { startReceiver } from "#testing/receiver.ts";
import { migrate } from "../../../prisma/migrate.ts";
import { startCourier } from "../webhooks/courier.ts";
import { createEndpoint } from "../webhooks/endpoints.ts";
import { emit } from "../webhooks/outbox.ts";
import { type Database, openDatabase, statementName, transaction } from "./db.ts";

const cleanUps: (() => Promise<void>)[] = [];
const cleanUp = async () => {
  for (const each of cleanUps.splice(0).reverse()) await each();
};

async function fresh(): Promise<string> {
  const { url, drop } = await freshDatabase(inject("postgresUrl"));
  cleanUps.push(drop);
  return url;
}

async function through(mode: PgBouncerOptions["mode"], options: Omit<PgBouncerOptions, "mode"> = {}): Promise<string> {
  const pooler = await startPgBouncer(await fresh(), { mode, ...options });
  cleanUps.push(pooler.stop);
  return pooler.url;
}

/** Makes a pooler open this many connections to Postgres, by having as many transactions open at once. */
async function busy(url: string, connections: number): Promise<void> {
  const pool = new pg.Pool({ connectionString: url, max: connections });
  const all = await Promise.all(Array.from({ length: connections }, () => pool.connect()));
  await Promise.all(all.map((each) => each.query("BEGIN")));
  await Promise.all(all.map((each) => each.query("COMMIT")));
  for (const each of all) each.release();
  await pool.end();
}

async function open(url: string): Promise<Database> {
  const db = await openDatabase({ url });
  cleanUps.push(() => db.close());
  return db;
}

describe("which connections are good enough", () => {
  afterEach(cleanUp);

  test.each<Omit<PgBouncerOptions, "mode">>([{ size: 1 }, { size: 40 }, { size: 40, server_round_robin: 1 }])(
    "a pooler in transaction mode is refused with a sentence, however it assigns its connections: %o",
    async (options) => {
      const url = await through("transaction", options);
      // So that the pooler has several backends to choose from.
      if (options.size !== 1) await busy(url, 8);
      const db = await open(url);
      await expect(db.check()).rejects.toThrow(/leads to a pooler in transaction or statement mode.*pool_mode = session/);
    },
  );

  test("a pooler in statement mode is refused with a sentence", async () => {
    const db = await open(await through("statement"));
    await expect(db.check()).rejects.toThrow("leads to a pooler in transaction or statement mode");
  });

  test("a pooler that allows one connection is refused with a sentence instead of a wait without end", async () => {
    const db = await open(await through("session", { size: 1 }));
    await expect(db.check()).rejects.toThrow("let in one connection and not a second one");
  });

  test("a database whose tables would not be in public is refused", async () => {
    const url = await fresh();
    const db = await open(url);
    await db.check();
    await db.prisma.$executeRawUnsafe(`CREATE SCHEMA elsewhere`);
    await db.prisma.$executeRawUnsafe(`ALTER DATABASE ${new URL(url).pathname.slice(1)} SET search_path TO elsewhere`);
    await expect(db.check()).rejects.toThrow("the schema elsewhere");
  });

  test("a server does not start on a pooler in transaction mode, and says why in one line", async () => {
    const url = await through("transaction");
    const child = spawn(process.execPath, [fileURLToPath(new URL("../main.ts", import.meta.url))], {
      stdio: ["ignore", "ignore", "pipe"],
      env: { PATH: process.env.PATH, HOME: process.env.HOME, NODE_ENV: "production", PORT: String(await freePort()), DATABASE_URL: url },
    });
    const code = new Promise((resolve) => child.once("close", resolve));
    const lines = (await text(child.stderr)).trim().split("\n");
    expect(await code).toBe(1);
    expect(lines).toEqual([
      expect.stringMatching(/^Quota could not start: DATABASE_URL leads to a pooler in transaction or statement mode/),
    ]);
  });
});

describe("through PgBouncer in session mode", () => {
  let db: Database;
  beforeAll(async () => {
    db = await open(await through("session"));
    await db.check();
    await migrate(db);
  });
  afterAll(cleanUp);
  asTheDatabase(() => db);

  test("webhooks are delivered", async () => {
    const receiver = await startReceiver();
    cleanUps.push(async () => void (await receiver.close()));
    env.NEXTAUTH_SECRET = "a server's secret";
    env.QUOTA_WEBHOOK_ALLOW_LOOPBACK = true;
    const app = await makeApp(db);
    await createEndpoint(app.id, { url: `${receiver.url}/here`, events: ["user.connected"], sandbox: false });
    const courier = startCourier(db, {
      serverSecret: "a server's secret",
      allowLoopback: true,
      timeoutMs: 5_000,
      firstRetryMs: 20,
      pollMs: 20,
      onDisabled: () => {},
    });
    try {
      await transaction(
        (tx) =>
          emit(tx, app.id, {
            type: "user.connected",
            data: { user_id: app.id, external_user_id: "user_1", connected_at: new Date().toISOString() },
          }),
        db,
      );
      await expect.poll(() => receiver.at("/here").length, { timeout: 20_000 }).toBe(1);
    } finally {
      await courier.stop();
    }
  });
});

test("a prepared statement is named by its text alone, so a name never stands for two texts", () => {
  const names = ["SELECT 1", "SELECT 2", "SELECT $1::int"].map((text) => statementName(text));
  expect(new Set(names).size).toBe(3);
  expect(statementName("SELECT 1")).toBe(names[0]);
  expect(statementName("SELECT 3", "a".repeat(100)).length).toBeLessThanOrEqual(63);
});
