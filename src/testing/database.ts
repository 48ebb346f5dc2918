import { afterAll, beforeAll, describe, inject } from "vitest";
import { migrate } from "../../prisma/migrate.ts";
import { type Database, openDatabase } from "../server/platform/db.ts";
import { freshDatabase } from "./postgres.ts";

/** Runs the same tests on the embedded database and on a real Postgres, each empty and migrated. */
export function onBothDatabases(name: string, tests: (db: () => Database) => void): void {
  describe(`${name}, embedded`, () => tests(withDatabase("embedded")));
  describe(`${name}, Postgres`, () => tests(withDatabase("postgres")));
}

export function withDatabase(kind: "embedded" | "postgres"): () => Database {
  let db: Database | undefined;
  let drop = async () => {};
  beforeAll(async () => {
    if (kind === "postgres") {
      const fresh = await freshDatabase(inject("postgresUrl"));
      drop = fresh.drop;
      db = await openDatabase({ url: fresh.url });
    } else {
      db = await openDatabase({});
    }
    await migrate(db);
  });
  afterAll(async () => {
    await db?.close();
    await drop();
  });
  return () => {
    if (db === undefined) throw new Error("the database is open only while tests run");
    return db;
  };
}

/** `database()` finds this one, for as long as the tests around it run, instead of opening one of its own. */
export function asTheDatabase(db: () => Database): void {
  const shared = globalThis as unknown as { quotaDatabase?: Promise<Database> | undefined };
  beforeAll(() => {
    shared.quotaDatabase = Promise.resolve(db());
  });
  afterAll(() => {
    shared.quotaDatabase = undefined;
  });
}
