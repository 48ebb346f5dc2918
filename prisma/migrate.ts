import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { MigrationList } from "@prisma/schema-engine-wasm";
import type { Database } from "../src/server/platform/db.ts";
import { schemaEngine } from "./engine.ts";
import { readSchema } from "./schema.ts";
import { readSources, refuseNewerSources, sourcesScript } from "./sources.ts";

const here = path.dirname(fileURLToPath(import.meta.url));
const everything = { externalTables: [], externalEnums: [] };

/**
 * Applies all pending migrations and changed sources; returns the names of both. Several servers may
 * start at once: one migrates, the others wait for it. Throws, and changes nothing more, when a
 * migration or the sources fail, or when the database has migrations that this version does not
 * know, or newer functions. `upTo`: the last migration of an earlier version, for tests that begin
 * with its database.
 */
export async function migrate(db: Database, { upTo }: { upTo?: string } = {}): Promise<string[]> {
  return db.exclusively(async (adapterFactory, runScript) => {
    const engine = await schemaEngine(adapterFactory, readSchema());
    const migrationsList = await readMigrations(upTo);
    const state = await engine.diagnoseMigrationHistory({
      migrationsList,
      optInToShadowDatabase: false,
      filters: everything,
    });
    if (state.failedMigrationNames.length > 0) {
      throw new Error(`Migration ${state.failedMigrationNames.join(", ")} failed earlier and needs a look: \`prisma migrate resolve\`.`);
    }
    if (state.history !== null && state.history.diagnostic !== "databaseIsBehind") {
      throw new Error("This database was migrated by a newer version of Quota. Start that version instead.");
    }
    await refuseNewerSources(db.sql);
    const { appliedMigrationNames } = await engine.applyMigrations({ migrationsList, filters: everything });
    if (upTo !== undefined) return appliedMigrationNames;
    const sources = await sourcesScript(db.sql, await readSources());
    if (sources === null) return appliedMigrationNames;
    await runScript(sources.text);
    return [...appliedMigrationNames, ...sources.names];
  });
}

/** The SQL that would change the migrated database to the schema; empty when they agree. */
export async function drift(db: Database): Promise<string> {
  const schema = readSchema();
  const engine = await schemaEngine(db.adapterFactory, schema);
  const introspected = await engine.introspect({
    schema: { files: [{ path: "schema.prisma", content: EMPTY_SCHEMA }] },
    baseDirectoryPath: here,
    force: true,
    compositeTypeDepth: 0,
    namespaces: undefined as never,
  } as never);
  const live = (introspected as { schema: { files: { path: string; content: string }[] } }).schema.files;
  const { stdout } = await engine.diff({
    from: { tag: "schemaDatamodel", files: live },
    to: { tag: "schemaDatamodel", files: schema.map(([path, content]) => ({ path, content })) },
    script: true,
    exitCode: null,
    filters: everything,
  });
  return (stdout ?? "").replace("-- This is an empty migration.", "").trim();
}

/** The schema that the database is read into; partial indexes are read only with this preview feature. */
const EMPTY_SCHEMA = `
  generator client {
    provider        = "prisma-client"
    previewFeatures = ["partialIndexes"]
  }
  datasource db {
    provider = "postgresql"
  }`;

async function readMigrations(upTo?: string): Promise<MigrationList> {
  const baseDir = path.join(here, "migrations");
  const names = (await readdir(baseDir, { withFileTypes: true }))
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .filter((name) => upTo === undefined || name <= upTo)
    .sort();
  const migrationDirectories = await Promise.all(
    names.map(async (name) => ({
      path: name,
      migrationFile: {
        path: "migration.sql",
        content: { tag: "ok" as const, value: await readFile(path.join(baseDir, name, "migration.sql"), "utf8") },
      },
    })),
  );
  const lockfile = await readFile(path.join(baseDir, "migration_lock.toml"), "utf8");
  return {
    baseDir,
    lockfile: { path: "migration_lock.toml", content: lockfile },
    shadowDbInitScript: "",
    migrationDirectories,
  };
}
