import { readdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import type { Database } from "../src/server/platform/db.ts";
import { onBothDatabases } from "../src/testing/database.ts";
import { migrate } from "./migrate.ts";
import { checksumOf, readSources, SOURCES, SOURCES_VERSION, type Source, sourcesScript } from "./sources.ts";

/** The tables that the sources of each folder may write to. */
const writes: Record<string, readonly string[]> = {
  "ledger/sql": ["account", "account_delta", "hold", "hold_growth", "usage"],
  "connect/sql": [],
  "webhooks/sql": ["outbox_event"],
};

describe("the sources of the database's functions", () => {
  test("are all in the list of sources", async () => {
    const server = fileURLToPath(new URL("../src/server/", import.meta.url));
    const files = (await readdir(server, { recursive: true }))
      .filter((file) => file.endsWith(".sql"))
      .map((file) => file.replaceAll("\\", "/"));
    expect([...SOURCES].sort()).toEqual(files.sort());
  });

  test("have a version that rises with every change: a change needs the next number and the checksum that this test prints", async () => {
    expect(SOURCES_VERSION.checksum).toBe(checksumOf((await readSources()).map(({ checksum }) => checksum).join()));
  });

  test("write to tables of their own room only", async () => {
    for (const { name, text } of await readSources()) {
      const code = text.replace(/--.*$/gm, "");
      const written = [...code.matchAll(/\b(?:INSERT INTO|UPDATE(?! O[FR]\b)|DELETE FROM|MERGE INTO)\s+"?(\w+)"?/g)].map(
        ([, table]) => table,
      );
      const allowed = writes[name.slice(0, name.lastIndexOf("/"))];
      expect(written.filter((table) => !allowed?.includes(table ?? ""))).toEqual([]);
    }
  });
});

onBothDatabases("a database's functions", (db) => {
  const run = (text: string) => db().exclusively((_, runScript) => runScript(text));
  const apply = async (sources: readonly Source[], version = SOURCES_VERSION.number) => {
    const script = await sourcesScript(db().sql, sources, version);
    if (script !== null) await run(script.text);
    return script?.names ?? [];
  };
  const source = (name: string, text: string): Source => ({ name, text, checksum: checksumOf(text) });
  const answering = (name: string, number: number) =>
    source(name, `CREATE OR REPLACE FUNCTION "${name}"() RETURNS int LANGUAGE sql AS $$ SELECT ${number} $$;`);
  const ask = async (name: string) => (await db().sql.query({ name: "", text: `SELECT ${name}() AS answer` }, []))[0]?.answer;

  test("are stored with checksum and version, and not applied again", async () => {
    const rows = await db().prisma.sqlSource.findMany();
    expect(rows.map(({ name }) => name).sort()).toEqual([...SOURCES].sort());
    expect(new Set(rows.map(({ version }) => version))).toEqual(new Set([SOURCES_VERSION.number]));
    expect(await sourcesScript(db().sql, await readSources())).toBe(null);
  });

  test("are applied again when their source has changed, and others are not", async () => {
    expect(await apply([answering("first_source", 1), answering("second_source", 1)])).toEqual(["first_source", "second_source"]);
    const before = await db().prisma.sqlSource.findUniqueOrThrow({ where: { name: "first_source" } });
    expect(await apply([answering("first_source", 1), answering("second_source", 2)])).toEqual(["second_source"]);
    expect([await ask("first_source"), await ask("second_source")]).toEqual([1, 2]);
    expect(await db().prisma.sqlSource.findUniqueOrThrow({ where: { name: "first_source" } })).toEqual(before);
  });

  test("are applied in one transaction", async () => {
    await apply([answering("whole_source", 1)]);
    await expect(apply([answering("whole_source", 2), source("broken_source", "SELECT no_such_function();")])).rejects.toThrow(
      "no_such_function",
    );
    expect(await ask("whole_source")).toBe(1);
    expect(await db().prisma.sqlSource.findUniqueOrThrow({ where: { name: "whole_source" } })).toMatchObject({
      checksum: answering("whole_source", 1).checksum,
    });
    expect(await db().prisma.sqlSource.findUnique({ where: { name: "broken_source" } })).toBe(null);
  });

  test("of a newer version are not replaced by an older server, which says what to do", async () => {
    await apply(await readSources(), SOURCES_VERSION.number + 1);
    await expect(migrate(db())).rejects.toThrow(
      /^The functions in this database are of a newer version of Quota\. Start that version instead\.$/,
    );
    expect(await versions(db())).toEqual([SOURCES_VERSION.number + 1]);
    await apply(await readSources());
    expect(await migrate(db())).toEqual([]);
  });
});

async function versions(db: Database): Promise<number[]> {
  const rows = await db.prisma.sqlSource.findMany({ where: { name: { in: [...SOURCES] } } });
  return [...new Set(rows.map(({ version }) => version))];
}
