import { describe, expect, test } from "vitest";
import { withDatabase } from "#testing/database.ts";
import { holdOne, settlement, someoneWaits, until } from "#testing/ledger-requests.ts";
import { limited, reason } from "#testing/limited.ts";
import { passMonth } from "#testing/makers.ts";
import { transaction } from "../platform/db.ts";
import { type HoldVerdict, hold, settle } from "./hold.ts";
import { openLedger } from "./ledger.ts";
import { setLimit } from "./limits.ts";
import { verify } from "./verify.ts";

describe("a limit on Postgres", () => {
  const db = withDatabase("postgres");

  test("lowered while a request waits for locks applies to that request", async () => {
    const it = await limited(db(), 500n);
    const lane = db().lane();
    let waiting: Promise<HoldVerdict | undefined> | undefined;
    await transaction(async (tx) => {
      await setLimit(tx, it.link.id, 50n);
      waiting = hold(lane, [it.request(100n)]).then(([verdict]) => verdict);
      await until(() => someoneWaits(db().sql));
    }, db());
    expect(await waiting).toMatchObject({ kind: "refused", reason: "spending_limit_reached", available: 50n });
  });

  test("lowered below what is held while a request waits: nothing is granted from its former account", async () => {
    const it = await limited(db(), 100n);
    const first = await holdOne(db().sql, it.request(60n));
    const ledger = openLedger(db());
    let waiting: Promise<HoldVerdict> | undefined;
    await transaction(async (tx) => {
      await setLimit(tx, it.link.id, 50n);
      waiting = ledger.hold(it.request(40n));
      await until(() => someoneWaits(db().sql));
    }, db());
    expect(await waiting).toMatchObject({ kind: "refused", reason: "spending_limit_reached" });
    await settle(db().sql, [settlement(first.id, 60n)]);
    expect(await it.state()).toEqual({ limit: 50n, spent: 60n });
    await it.set(120n);
    expect(await it.left()).toBe(60n);
  });

  test("set while a request without one is being held counts that request: the wallet's lock serializes both", async () => {
    const it = await limited(db());
    let setting: Promise<void> | undefined;
    await transaction(async (tx) => {
      await holdOne(tx, it.request(300n));
      setting = it.set(500n);
      await until(() => someoneWaits(db().sql));
    }, db());
    await setting;
    expect(await it.left()).toBe(200n);
    const ledger = openLedger(db());
    let waiting: Promise<HoldVerdict> | undefined;
    await it.set(null);
    await transaction(async (tx) => {
      await setLimit(tx, it.link.id, 310n);
      waiting = ledger.hold(it.request(11n));
      await until(() => someoneWaits(db().sql));
    }, db());
    expect(reason(await waiting)).toBe("spending_limit_reached");
  });

  test("set while a request is being settled counts what that costs", async () => {
    const it = await limited(db());
    const id = await it.hold(300n);
    let setting: Promise<void> | undefined;
    await transaction(async (tx) => {
      await settle(tx, [settlement(id, 120n)]);
      setting = it.set(500n);
      await until(() => someoneWaits(db().sql));
    }, db());
    await setting;
    expect(await it.left()).toBe(380n);
    expect(await it.state()).toEqual({ limit: 500n, spent: 120n });
  });

  test("whose month is over is refilled once by several processes", async () => {
    const it = await limited(db(), 500n);
    await it.spend(500n);
    const open = await db().prisma.transfer.count({ where: { creditId: it.link.limitId ?? "" } });
    await passMonth(db(), it.link);
    const processes = Array.from({ length: 4 }, () => openLedger(db()));
    const verdicts = await Promise.all(Array.from({ length: 24 }, (_, turn) => processes[turn % 4]?.hold(it.request(50n))));
    expect(verdicts.filter((verdict) => verdict?.kind === "held")).toHaveLength(10);
    expect(await db().prisma.transfer.count({ where: { creditId: it.link.limitId ?? "" } })).toBe(open + 1);
    expect((await verify(db().sql)).discrepancies).toEqual([]);
  });

  test("whose month is over, of a wallet that another session has locked, takes one connection, and its requests fail in time", async () => {
    const it = await limited(db(), 500n);
    const other = await limited(db(), 500n);
    await passMonth(db(), it.link);
    await passMonth(db(), other.link);
    const ledger = openLedger(db());
    await transaction(async (tx) => {
      await tx.prisma.$queryRaw`SELECT id FROM account WHERE id = ${it.link.walletId}::uuid FOR UPDATE`;
      let over = false;
      const refused = Promise.allSettled(Array.from({ length: 30 }, () => ledger.hold(it.request(10n)))).finally(() => {
        over = true;
      });
      await until(() => someoneWaits(db().sql));
      expect(await ledger.hold(other.request(500n))).toMatchObject({ kind: "held" });
      const waiting = { name: "", text: `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'` };
      expect((await db().sql.query(waiting, [])).length).toBeLessThanOrEqual(1);
      // Queries keep the session from being ended as idle in a transaction.
      while (!over) await tx.query({ name: "", text: `SELECT 1` }, []);
      for (const each of await refused) expect(each).toMatchObject({ status: "rejected", reason: { name: "AccountLockedError" } });
    }, db());
    expect(await ledger.hold(it.request(500n))).toMatchObject({ kind: "held" });
  });

  for (const [what, change] of [
    ["unlinked", { end: true }],
    ["paused", { pausedAt: new Date() }],
  ] as const) {
    test(`${what} while a request waits for the wallet: the request is refused`, async () => {
      const it = await limited(db(), 100n);
      const ledger = openLedger(db());
      let waiting: Promise<HoldVerdict> | undefined;
      await transaction(async (tx) => {
        await tx.prisma.$queryRaw`SELECT id FROM account WHERE id = ${it.link.walletId}::uuid FOR UPDATE`;
        waiting = ledger.hold(it.request(40n));
        await until(() => someoneWaits(db().sql));
        const where = { id: it.link.id };
        if ("end" in change) await db().prisma.linkedUser.delete({ where });
        else await db().prisma.linkedUser.update({ where, data: change });
      }, db());
      expect(await waiting).toMatchObject({ kind: "refused", reason: "not_found" });
    });

    test(`${what} while a batch waits for the wallet: the request has to be repeated, the others of the batch are held`, async () => {
      const [it, other] = [await limited(db(), 100n), await limited(db(), 100n)];
      let waiting: Promise<HoldVerdict[]> | undefined;
      await transaction(async (tx) => {
        await tx.prisma.$queryRaw`SELECT id FROM account WHERE id = ${it.link.walletId}::uuid FOR UPDATE`;
        waiting = hold(db().sql, [it.request(40n), other.request(40n)]);
        await until(() => someoneWaits(db().sql));
        const where = { id: it.link.id };
        if ("end" in change) await db().prisma.linkedUser.delete({ where });
        else await db().prisma.linkedUser.update({ where, data: change });
      }, db());
      expect(await waiting).toMatchObject([{ kind: "limit_due", linkedUserId: it.link.id }, { kind: "held" }]);
    });
  }

  test("changed concurrently with requests never lets more through than the largest limit, and verify finds nothing wrong", async () => {
    const it = await limited(db(), 1_000n);
    const ledger = openLedger(db());
    let charged = 0n;
    const work = async () => {
      for (let turn = 0; turn < 10; turn++) {
        const verdict = await ledger.hold(it.request(30n));
        if (verdict.kind !== "held") continue;
        const settled = await ledger.settle(settlement(verdict.id, turn % 3 === 0 ? 0n : 30n), 60_000);
        if (settled.kind === "settled") charged += settled.charged;
      }
    };
    const change = async () => {
      // Upwards only, so that the last is the largest.
      for (let limit = 1_010n; limit <= 1_200n; limit += 10n) await it.set(limit);
    };
    await Promise.all([...Array.from({ length: 10 }, work), change()]);
    expect(charged).toBeLessThanOrEqual(1_200n);
    expect(await it.state()).toEqual({ limit: 1_200n, spent: charged });
    expect(await it.left()).toBe(1_200n - charged);
    expect((await verify(db().sql)).discrepancies).toEqual([]);
  });
});
