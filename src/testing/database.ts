import { afterAll, beforeAll, describe, inject } from "vitest";
import { migrate } from "../../prisma/migrate.ts";
import { type Database, openDatabase, theDatabase } from "../server/platform/db.ts";
import { mutate } from "./mutant.ts";
import { freshDatabase, ZONES, type Zone, zoneOf } from "./postgres.ts";

/**
 * Runs the same tests on the embedded database and on a real Postgres, each empty and migrated. The
 * Postgres is in a time zone other than UTC, which the name decides.
 */
export function onBothDatabases(name: string, tests: (db: () => Database) => void, zones: readonly Zone[] = [zoneOf(name)]): void {
  describe(`${name}, embedded`, () => tests(withDatabase("embedded")));
  for (const zone of zones) describe(`${name}, Postgres in ${zone}`, () => tests(withDatabase("postgres", zone)));
}

/** The same for what is about time: with a Postgres in each of the zones. */
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

/** `database()` finds this one, for as long as the tests around it run, instead of opening one of its own. */
export function asTheDatabase(db: () => Database): void {
  beforeAll(() => {
    theDatabase.opened = Promise.resolve(db());
  });
  afterAll(() => {
    theDatabase.opened = undefined;
  });
}
