import { v7 as uuidv7 } from "uuid";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { inEveryZone } from "#testing/database.ts";
import { holdOne, holdRequest } from "#testing/ledger-requests.ts";
import { makeApp, makeKey, makeUser } from "#testing/makers.ts";
import { balanceOf } from "../ledger/accounts.ts";
import { sweepOrphans } from "../ledger/sweep.ts";
import { verify } from "../ledger/verify.ts";
import { log } from "../platform/log.ts";
import { startHousekeeping } from "./housekeeping.ts";
import { proveWhenDue } from "./proof.ts";
import { Schedule } from "./schedule.ts";

const HOUR = 3_600_000;
const options = { longestRequestMs: 600_000 };

inEveryZone("the daily proof", (db) => {
  beforeEach(async () => {
    vi.spyOn(log, "info").mockImplementation(() => {});
    await db().prisma.setting.deleteMany({ where: { key: "turn_proof" } });
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.restoreAllMocks();
  });

  /** Moves the time of the next proof as if this much time had passed. */
  const later = (ms: number) =>
    db().sql.query(
      {
        name: "",
        text: `UPDATE setting SET value = value || jsonb_build_object('due', (value->>'due')::bigint - ${ms}) WHERE key = 'turn_proof'`,
      },
      [],
    );

  test("is made by one of all processes, once a day", async () => {
    const look = () => Promise.all(Array.from({ length: 5 }, () => proveWhenDue(db(), options)));
    const made = async () => (await look()).filter((report) => report !== null).length;
    expect(await made()).toBe(1);
    for (let hour = 1; hour <= 22; hour++) {
      await later(HOUR);
      expect(await made(), `after ${hour} hours`).toBe(0);
    }
    await later(2 * HOUR);
    expect(await made()).toBe(1);
    expect(await made()).toBe(0);
  });

  test("is made also when no server runs for longer than an hour, and by one of two servers", async () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
    let made = 0;
    for (let hour = 0; hour < 48; hour++) {
      const servers = [new Schedule(), new Schedule()];
      for (const server of servers) server.every(60_000, "prove", async () => void ((await proveWhenDue(db(), options)) && made++));
      vi.advanceTimersByTime(60_000);
      await new Promise((resolve) => setImmediate(resolve));
      await Promise.all(servers.map((server) => server.stop()));
      expect(made, `after ${hour} hours`).toBe(hour < 24 ? 1 : 2);
      await later(HOUR);
    }
  });

  test("is part of every server's housekeeping", async () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
    const housekeeping = startHousekeeping(db(), options);
    vi.advanceTimersByTime(60_000);
    await vi.waitFor(() => expect(vi.mocked(log.info).mock.calls.flat()).toContain("the books are in order"), 10_000);
    await housekeeping.stop();
  });

  test("is made by another process after its process died, and is repeated an hour after it failed", async () => {
    // Never resolves, like the call of a process that died.
    void proveWhenDue(db(), { ...options, prove: () => new Promise(() => {}) });
    await vi.waitFor(async () => expect(await db().prisma.setting.count({ where: { key: "turn_proof" } })).toBe(1));
    expect(await proveWhenDue(db(), options)).toBeNull();
    await later(5 * 60_000);
    const broken = new Error("no space left");
    await expect(proveWhenDue(db(), { ...options, prove: () => Promise.reject(broken) })).rejects.toBe(broken);
    expect(await proveWhenDue(db(), options)).toBeNull();
    await later(HOUR);
    expect(await proveWhenDue(db(), options)).toMatchObject({ ok: true });
  });

  test("reports discrepancies", async () => {
    const logged = vi.spyOn(log, "error").mockImplementation(() => {});
    const report = await verify(db().sql);
    const wrong = { ...report, ok: false, discrepancies: [{ rule: "r", what: "w", expected: "e", found: "f" }] };
    expect(await proveWhenDue(db(), { ...options, prove: async () => wrong })).toEqual(wrong);
    expect(logged.mock.calls).toEqual([["the books are NOT in order", { discrepancies: wrong.discrepancies }]]);
  });

  test("returns holds that the sweep passed over, such as those of a server with a wrong clock", async () => {
    const warned = vi.spyOn(log, "warn").mockImplementation(() => {});
    const owner = await makeUser(db(), { credits: 1_000n });
    const key = await makeKey(db(), (await makeApp(db(), { ownerId: owner.id })).id);
    await sweepOrphans(db().sql, { everyMs: 0 });
    const behind = uuidv7({ msecs: Date.now() - 30 * 24 * HOUR });
    await holdOne(db().sql, holdRequest(key, { id: behind, lifetimeMs: -120_000, amount: 40n }));
    expect(await sweepOrphans(db().sql, { everyMs: 0 })).toBe(0);
    expect(await proveWhenDue(db(), options)).toMatchObject({ ok: true, openHolds: 0 });
    expect(warned.mock.calls).toEqual([["returned the credits of orphaned holds", { holds: 1 }]]);
    expect(await balanceOf(db().sql, owner.walletId)).toMatchObject({ held: 0n, available: 1_000n });
  });

  test("reports discrepancies also when a hold can't be returned", async () => {
    const logged = vi.spyOn(log, "error").mockImplementation(() => {});
    const owner = await makeUser(db(), { credits: 1_000n });
    const key = await makeKey(db(), (await makeApp(db(), { ownerId: owner.id })).id);
    const { id } = await holdOne(db().sql, holdRequest(key, { lifetimeMs: -120_000, amount: 40n }));
    await db().prisma.$executeRawUnsafe(`DELETE FROM account WHERE id = '${owner.walletId}'`);
    try {
      expect(await proveWhenDue(db(), options)).toMatchObject({ ok: false, overdue: id });
      expect(logged.mock.calls.map(([message]) => message)).toEqual(["orphaned holds could not be returned", "the books are NOT in order"]);
    } finally {
      await db().prisma.account.create({ data: { id: owner.walletId, kind: "wallet", bounded: true, available: 960n, held: 40n } });
      await sweepOrphans(db().sql, { everyMs: 0 });
    }
  });
});
