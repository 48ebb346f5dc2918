import { mkdir, mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { onBothDatabases } from "#testing/database.ts";
import { holdOne, holdRequest, settlement } from "#testing/ledger-requests.ts";
import { makeApp, makeKey, makeUser } from "#testing/makers.ts";
import type { Database } from "../platform/db.ts";
import { log } from "../platform/log.ts";
import type { Sql } from "../platform/sql.ts";
import { balanceOf } from "./accounts.ts";
import { KeptSettlements } from "./kept.ts";
import { openLedger } from "./ledger.ts";
import { sweepAtStart, sweepHolds } from "./sweep.ts";

let folder: string;
let logged: [string, Record<string, unknown>][];
beforeEach(async () => {
  folder = path.join(await mkdtemp(path.join(tmpdir(), "quota-kept-")), "deeper", "unbilled");
  logged = [];
  vi.spyOn(log, "error").mockImplementation((message, fields) => void logged.push([message, fields ?? {}]));
});
afterEach(async () => {
  vi.restoreAllMocks();
  await rm(path.dirname(path.dirname(folder)), { recursive: true, force: true });
});

const files = () => readdir(folder).catch(() => []);
const about = (id: string) => logged.filter(([, { request_id }]) => request_id === id).map(([message]) => message);

describe("a settlement on disk", () => {
  test("is in a file that only its owner may read, with ids and figures and nothing else", async () => {
    const kept = new KeptSettlements(folder);
    await kept.keep(settlement("019ac000-0000-7000-8000-000000000001", 5n, 1n));
    const [name = ""] = await files();
    expect((await stat(path.join(folder, name))).mode & 0o777).toBe(0o600);
    expect((await stat(folder)).mode & 0o777).toBe(0o700);
    const lines = (await readFile(path.join(folder, name), "utf8")).trimEnd().split("\n");
    expect(lines.map((line) => JSON.parse(line))).toEqual([
      { ...settlement("019ac000-0000-7000-8000-000000000001", 5n, 1n), base: "5", markup: "1" },
    ]);
  });

  test("shares its file with those that arrived while one was written, and the file is removed when all are committed", async () => {
    const kept = new KeptSettlements(folder);
    const all = await Promise.all(Array.from({ length: 50 }, (_, index) => kept.keep(settlement(`s${index}`, 5n))));
    expect((await files()).length).toBeLessThanOrEqual(2);
    for (const { forget } of all.slice(1)) await forget();
    expect(await files()).toHaveLength(1);
    await all[0]?.forget();
    expect(await files()).toEqual([]);
  });

  test("that can't be written is an error, and the next one is written", async () => {
    await mkdir(path.dirname(folder), { recursive: true });
    await writeFile(folder, "not a folder");
    const kept = new KeptSettlements(folder);
    await expect(kept.keep(settlement("a", 5n))).rejects.toThrow();
    await rm(folder);
    await kept.keep(settlement("b", 5n));
    expect(await files()).toHaveLength(1);
  });
});

onBothDatabases("settlements on disk", (db) => {
  async function payer() {
    const owner = await makeUser(db(), { credits: 1_000n });
    const app = await makeApp(db(), { ownerId: owner.id });
    const key = await makeKey(db(), app.id);
    return {
      hold: async (lifetimeMs = 600_000) => (await holdOne(db().sql, holdRequest(key, { lifetimeMs }))).id,
      balance: () => balanceOf(db().sql, owner.walletId),
    };
  }

  test("are entered by the next process, once, also when many processes enter them at once and again", async () => {
    const { hold, balance } = await payer();
    const dead = new KeptSettlements(folder);
    for (let count = 0; count < 5; count++) await dead.keep(settlement(await hold(), 40n, 4n));
    const outcomes = await Promise.all([1, 2, 3].map(() => new KeptSettlements(folder).enter(db().sql)));
    expect(outcomes.reduce((sum, { entered }) => sum + entered, 0)).toBe(5);
    expect(await files()).toEqual([]);
    expect(await new KeptSettlements(folder).enter(db().sql)).toEqual({ entered: 0, late: 0 });
    expect(await balance()).toEqual({ balance: 780n, held: 0n, available: 780n });
    expect(logged).toEqual([]);
  });

  test("that were committed before their file was removed are not billed twice", async () => {
    const { hold, balance } = await payer();
    const [one, two] = [settlement(await hold(), 40n), settlement(await hold(), 30n)];
    const kept = new KeptSettlements(folder);
    await Promise.all([kept.keep(one), kept.keep(two)]);
    expect((await openLedger(db()).settle(one, 60_000)).kind).toBe("settled");
    expect(await new KeptSettlements(folder).enter(db().sql)).toEqual({ entered: 1, late: 0 });
    expect((await balance()).balance).toBe(930n);
    expect(await files()).toEqual([]);
  });

  test("are entered before the start of an embedded server releases holds", async () => {
    const { hold, balance } = await payer();
    const [answered, lost] = [await hold(), await hold()];
    await new KeptSettlements(folder).keep(settlement(answered, 40n));
    await new KeptSettlements(folder).enter(db().sql);
    await sweepAtStart(db().sql);
    expect(await balance()).toEqual({ balance: 960n, held: 0n, available: 960n });
    expect((await db().prisma.usage.findUniqueOrThrow({ where: { id: lost } })).outcome).toBe("swept");
  });

  test("whose hold was swept before are not billed, and are logged with their request id", async () => {
    const { hold, balance } = await payer();
    const id = await hold(-1_000);
    await new KeptSettlements(folder).keep(settlement(id, 40n, 4n));
    await sweepHolds(db().sql, { after: `${id.slice(0, 13)}-0000-0000-000000000000` });
    expect(await new KeptSettlements(folder).enter(db().sql)).toEqual({ entered: 0, late: 1 });
    expect(logged).toEqual([
      ["a kept settlement came after its hold was returned: the request is not billed", { request_id: id, credits: 44n }],
    ]);
    expect(await balance()).toEqual({ balance: 1_000n, held: 0n, available: 1_000n });
    expect(await files()).toEqual([]);
  });

  test("of a hold that this database does not have stay in their file, and are logged once", async () => {
    const { hold, balance } = await payer();
    const strange = "019ac000-0000-7000-8000-00000000000f";
    const writer = new KeptSettlements(folder);
    await Promise.all([writer.keep(settlement(strange, 5n)), writer.keep(settlement(await hold(), 40n))]);
    const kept = new KeptSettlements(folder);
    expect(await kept.enter(db().sql)).toEqual({ entered: 1, late: 0 });
    await kept.enter(db().sql);
    expect(about(strange)).toEqual(["a kept settlement is of a hold that this database does not have"]);
    expect((await balance()).balance).toBe(960n);
    expect((await files()).length).toBeGreaterThan(0);
  });

  test("stay when the database becomes unreachable during `enter`", async () => {
    const { hold, balance } = await payer();
    const kept = new KeptSettlements(folder);
    await Promise.all([kept.keep(settlement(await hold(), 40n)), kept.keep(settlement(await hold(), 30n))]);
    const before = await files();
    let calls = 0;
    const breaking: Sql = {
      query: async (statement, parameters) => {
        if (++calls > 1) throw new Error("Connection terminated unexpectedly");
        return db().sql.query(statement, parameters);
      },
    };
    await expect(kept.enter(breaking)).rejects.toThrow("Connection terminated");
    expect((await files()).length).toBeGreaterThan(0);
    expect(before.length).toBeGreaterThan(0);
    await kept.enter(db().sql);
    expect((await balance()).balance).toBe(930n);
  });

  test("that a dead process left unfinished are removed after a while; files that can't be read stay and are logged once", async () => {
    await mkdir(folder, { recursive: true });
    const [young, old] = [path.join(folder, "a.jsonl.half"), path.join(folder, "b.jsonl.half")];
    for (const file of [young, old]) await writeFile(file, '{"id":');
    await utimes(old, new Date(0), new Date(0));
    await writeFile(path.join(folder, "c.jsonl"), '{"id":"x"}\n');
    await writeFile(path.join(folder, "notes.txt"), "somebody's");
    const kept = new KeptSettlements(folder);
    for (let round = 0; round < 2; round++) expect(await kept.enter(db().sql)).toEqual({ entered: 0, late: 0 });
    expect((await files()).sort()).toEqual(["a.jsonl.half", "c.jsonl", "notes.txt"]);
    expect(logged.map(([message]) => message)).toEqual(["kept settlements can't be read"]);
  });
});

describe("an answer that names its price", () => {
  /** A database that does not answer until the test lets it; then every settlement succeeds. */
  function silentDatabase() {
    let speak = () => {};
    const spoken = new Promise<void>((resolve) => {
      speak = resolve;
    });
    const query: Sql["query"] = async () => {
      await spoken;
      return [{ settled: "settled", charged: 5n, balance: 95n }];
    };
    return { db: { lane: () => ({ query }) } as unknown as Database, speak: () => speak() };
  }
  const soon = { lifetimeMs: 60_000, patienceMs: 10 };

  test("does not wait for the disk while the database answers: nothing is written", async () => {
    const { db, speak } = silentDatabase();
    speak();
    const books = openLedger(db, new KeptSettlements(folder));
    expect(await books.settleOrKeep(settlement("a", 5n), { lifetimeMs: 60_000, patienceMs: 60_000 })).toMatchObject({ kind: "settled" });
    expect(await files()).toEqual([]);
  });

  test("is sent when its settlement is on disk; the file is removed when the database has committed it", async () => {
    const { db, speak } = silentDatabase();
    const books = openLedger(db, new KeptSettlements(folder));
    const settling = books.settleOrKeep(settlement("a", 5n), soon);
    expect(books.unsettled).toBe(1);
    expect(await settling).toBeNull();
    expect(await files()).toHaveLength(1);
    // From here on nothing is lost when the process ends.
    expect(books.unsettled).toBe(0);
    speak();
    await expect.poll(files).toEqual([]);
  });

  test("waits for the database when the disk can't be written", async () => {
    await mkdir(path.dirname(folder), { recursive: true });
    await writeFile(folder, "not a folder");
    const { db, speak } = silentDatabase();
    const books = openLedger(db, new KeptSettlements(folder));
    const settling = books.settleOrKeep(settlement("a", 5n), soon);
    await expect.poll(() => about("a")).toEqual(["a settlement could not be kept on disk; its answer waits for the database"]);
    expect(books.unsettled).toBe(1);
    speak();
    expect(await settling).toEqual({ kind: "settled", charged: 5n, balanceAfter: 95n });
  });

  test("names none when neither database nor disk takes the settlement until the hold expires", async () => {
    await mkdir(path.dirname(folder), { recursive: true });
    await writeFile(folder, "not a folder");
    const query: Sql["query"] = async () => {
      throw new Error("Connection terminated unexpectedly");
    };
    const books = openLedger({ lane: () => ({ query }) } as unknown as Database, new KeptSettlements(folder));
    await expect(books.settleOrKeep(settlement("a", 5n), { lifetimeMs: 200, patienceMs: 10 })).rejects.toThrow("Connection terminated");
    expect(books.unsettled).toBe(0);
  });

  test("leaves its file for the next process when settling was given up after the settlement was kept", async () => {
    const query: Sql["query"] = async () => {
      throw new Error("Connection terminated unexpectedly");
    };
    const books = openLedger({ lane: () => ({ query }) } as unknown as Database, new KeptSettlements(folder));
    expect(await books.settleOrKeep(settlement("a", 5n), { lifetimeMs: 200, patienceMs: 10 })).toBeNull();
    await expect.poll(() => logged.at(-1)?.[0]).toContain("given up");
    expect(await files()).toHaveLength(1);
  });
});
