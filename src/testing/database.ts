import { afterAll, beforeAll, describe, inject } from "vitest";
import { migrate } from "../../prisma/migrate.ts";
import { type Database, openDatabase, theDatabase } from "../server/platform/db.ts";
import { mutate } from "./mutant.ts";
import { freshDatabase, ZONES, type Zone, zoneOf } from "./postgres.ts";

/**
 * Runs the tests on the embedded database and on a real Postgres, each empty and migrated. The
 * Postgres has a time zone other than UTC, chosen by a hash of `name`.
 */
export function onBothDatabases(name: string, tests: (db: () => Database) => void, zones: readonly Zone[] = [zoneOf(name)]): void {
  describe(`${name}, embedded`, () => tests(withDatabase("embedded")));
  for (const zone of zones) describe(`${name}, Postgres in ${zone}`, () => tests(withDatabase("postgres", zone)));
}

/** Like `onBothDatabases`, with a Postgres in each zone, for tests of times. */
export function inEveryZone(name: string, tests: (db: () => Database) => void): void {
  onBothDatabases(name, tests, ZONES);
}

export function withDatabase(kind: "embedded" | "postgres", zone?: Zone): () => Database {
  let db: Database | undefined;
  let drop = async () => {};
  beforeAll(async () => {
    if (kind === "postgres") {
      const fresh = await freshDatabase(inject("postgresUrl"), zone);
      drop = fresh.drop;
      db = await openDatabase({ url: fresh.url });
    } else {
      db = await openDatabase({});
    }
    await migrate(db);
    await mutate(db);
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

/** Makes `database()` return this database while the surrounding tests run. */
export function asTheDatabase(db: () => Database): void {
  beforeAll(() => {
    theDatabase.opened = Promise.resolve(db());
  });
  afterAll(() => {
    theDatabase.opened = undefined;
  });
}
