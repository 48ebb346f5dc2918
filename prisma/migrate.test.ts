import { afterEach, describe, expect, inject, test } from "vitest";
import { type Database, openDatabase } from "../src/server/platform/db.ts";
import { onBothDatabases, withDatabase } from "../src/testing/database.ts";
import { freshDatabase } from "../src/testing/postgres.ts";
import { drift, migrate } from "./migrate.ts";

describe("the schema", () => {
  const db = withDatabase("embedded");

  test("the migrations produce the schema", async () => {
    expect(await drift(db())).toBe("");
  });

  test("drift names what the schema has and the database lacks", async () => {
    await db().prisma.$executeRawUnsafe(`ALTER TABLE "setting" RENAME COLUMN "value" TO "worth"`);
    try {
      expect(await drift(db())).toContain(`"value"`);
    } finally {
      await db().prisma.$executeRawUnsafe(`ALTER TABLE "setting" RENAME COLUMN "worth" TO "value"`);
    }
  });
});

onBothDatabases("a migrated database", (db) => {
  test("a second run applies nothing", async () => {
    expect(await migrate(db())).toEqual([]);
  });
});

describe("migrating", () => {
  const cleanUps: (() => Promise<void>)[] = [];
  afterEach(async () => {
    for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
  });

  async function servers(count: number): Promise<Database[]> {
    const fresh = await freshDatabase(inject("postgresUrl"));
    cleanUps.push(fresh.drop);
    return Promise.all(
      Array.from({ length: count }, async () => {
        const db = await openDatabase({ url: fresh.url });
        cleanUps.push(() => db.close());
        return db;
      }),
    );
  }

  test("of several servers that migrate at once, one applies everything and the others nothing", async () => {
    const applied = await Promise.all((await servers(3)).map((db) => migrate(db)));
    expect(applied.filter((names) => names.length > 0)).toHaveLength(1);
    const [db] = await servers(1);
    if (db === undefined) throw new Error("no server");
    expect(await migrate(db)).toEqual(applied.find((names) => names.length > 0));
  });

  test("a server that has migrated keeps no lock, so that another server can start beside it", async () => {
    const [db] = await servers(1);
    if (db === undefined) throw new Error("no server");
    await migrate(db);
    const text = `SELECT l.objid FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE d.datname = current_database() AND l.locktype = 'advisory'`;
    // Postgres releases a connection's locks shortly after the client has closed it.
    await expect.poll(() => db.sql.query({ name: "", text }, []), { timeout: 10_000 }).toEqual([]);
  });

  test("a database of a newer version is not changed", async () => {
    const [db] = await servers(1);
    if (db === undefined) throw new Error("no server");
    await migrate(db);
    await db.prisma.$executeRawUnsafe(
      `INSERT INTO "_prisma_migrations" ("id", "checksum", "migration_name", "finished_at", "applied_steps_count") VALUES ('x', 'x', '29990101000000_future', now(), 1)`,
    );
    await expect(migrate(db)).rejects.toThrow("newer version");
  });

  test("a migration that failed earlier stops the next start", async () => {
    const [db] = await servers(1);
    if (db === undefined) throw new Error("no server");
    await migrate(db);
    await db.prisma.$executeRawUnsafe(`UPDATE "_prisma_migrations" SET "finished_at" = NULL, "logs" = 'broken'`);
    await expect(migrate(db)).rejects.toThrow("failed earlier");
  });
});
