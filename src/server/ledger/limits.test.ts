import { randomUUID } from "node:crypto";
import { v7 as uuidv7 } from "uuid";
import { describe, expect, test } from "vitest";
import { inEveryZone, withDatabase } from "#testing/database.ts";
import { holdOne, holdRequest, settlement, someoneWaits, until } from "#testing/ledger-requests.ts";
import { makeApp, makeKey, makeLink, makeUser, passMonth } from "#testing/makers.ts";
import { type Database, transaction } from "../platform/db.ts";
import { balanceOf, openAccount } from "./accounts.ts";
import { type HoldVerdict, hold, settle } from "./hold.ts";
import { openLedger } from "./ledger.ts";
import { endOfMonth, limitStanding, limitState, recountLimit, refillLimit, setLimit } from "./limits.ts";
import { verify } from "./verify.ts";

const NOW = new Date();
const NEXT_MONTH = endOfMonth(NOW);
const MONTH_AFTER = endOfMonth(NEXT_MONTH);

/** A user with plenty of credits and a limit for one app, and what tests do with it. */
async function limited(db: Database, monthlyLimit?: bigint) {
  const app = await makeApp(db);
  const key = await makeKey(db, app.id, "user");
  const person = await makeUser(db, { credits: 1_000_000n });
  const link = await makeLink(db, app.id, person, monthlyLimit === undefined ? {} : { monthlyLimit });
  const request = (amount: bigint) => holdRequest(key, { externalUserId: link.externalUserId, amount });
  return {
    person,
    link,
    request,
    hold: async (amount: bigint) => (await holdOne(db.sql, request(amount))).id,
    settle: async (id: string, amount: bigint) => settle(db.sql, [settlement(id, amount)]),
    spend: async (amount: bigint) => settle(db.sql, [settlement((await holdOne(db.sql, request(amount))).id, amount)]),
    set: (limit: bigint | null, now = NOW) => transaction((tx) => setLimit(tx, link.id, limit, now), db),
    refill: (now = NOW) => transaction((tx) => refillLimit(tx, link.id, now), db),
    row: () => db.prisma.linkedUser.findUniqueOrThrow({ where: { id: link.id } }),
    /** What the next request could spend of the limit. */
    left: async () => {
      const { limitId } = await db.prisma.linkedUser.findUniqueOrThrow({ where: { id: link.id } });
      return limitId === null ? null : (await balanceOf(db.sql, limitId)).available;
    },
    state: async (now = NOW) => {
      const row = await db.prisma.linkedUser.findUniqueOrThrow({ where: { id: link.id }, include: { agreement: true } });
      return limitState(db.sql, { ...row, ...row.agreement }, { now });
    },
  };
}

const reason = (verdict: HoldVerdict | undefined) => (verdict?.kind === "refused" ? verdict.reason : verdict?.kind);

inEveryZone("a limit", (db) => {
  test("is full when it is set, and ends with the calendar month in UTC", async () => {
    const it = await limited(db());
    expect(await it.left()).toBe(null);
    await it.set(500n);
    expect(await it.left()).toBe(500n);
    expect((await it.row()).limitPeriodEndsAt).toEqual(NEXT_MONTH);
    expect(await it.state()).toEqual({ limit: 500n, spent: 0n });
  });

  test("counts what was spent when it is raised or lowered", async () => {
    const it = await limited(db(), 500n);
    await it.spend(200n);
    await it.set(1_000n);
    expect(await it.left()).toBe(800n);
    await it.set(300n);
    expect(await it.left()).toBe(100n);
    await it.set(200n);
    expect(await it.left()).toBe(0n);
    expect(await it.state()).toEqual({ limit: 200n, spent: 200n });
    await it.set(200n);
    expect(await it.left()).toBe(0n);
  });

  test("counts what requests under way hold, until they return what they do not spend", async () => {
    const it = await limited(db(), 500n);
    const id = await it.hold(300n);
    await it.set(400n);
    expect(await it.left()).toBe(100n);
    await it.settle(id, 50n);
    expect(await it.left()).toBe(350n);
    expect(await it.state()).toEqual({ limit: 400n, spent: 50n });
  });

  test("lowered below what is held lets nothing more through, even when those requests return credits", async () => {
    const it = await limited(db(), 500n);
    const ids = [await it.hold(300n), await it.hold(100n)];
    await it.set(50n);
    expect(await it.left()).toBe(0n);
    expect(reason((await hold(db().sql, [it.request(1n)]))[0])).toBe("spending_limit_reached");
    await it.settle(ids[0] ?? "", 20n);
    await it.settle(ids[1] ?? "", 0n);
    // 20 were spent. The next request has the limit counted and finds the other 30.
    const ledger = openLedger(db());
    expect(reason(await ledger.hold(it.request(31n)))).toBe("spending_limit_reached");
    expect(reason(await ledger.hold(it.request(30n)))).toBe("held");
    expect(await it.state()).toEqual({ limit: 50n, spent: 20n });
    expect((await verify(db().sql)).discrepancies).toEqual([]);
  });

  test("lowered below what was spent lets nothing more through until the month ends", async () => {
    const it = await limited(db(), 500n);
    await it.spend(400n);
    await it.set(100n);
    expect(await it.left()).toBe(0n);
    await it.refill(NEXT_MONTH);
    expect(await it.left()).toBe(100n);
  });

  test("lowered below what was spent and raised again still counts all that was spent this month", async () => {
    const it = await limited(db(), 100n);
    await it.spend(40n);
    await it.set(30n);
    await it.set(100n);
    expect(await it.left()).toBe(60n);
  });

  test("lowered below what is held and raised again still counts what is held", async () => {
    const it = await limited(db(), 100n);
    await it.hold(80n);
    await it.set(50n);
    await it.set(100n);
    expect(await it.left()).toBe(20n);
  });

  test("lowered below what was spent says how much that was", async () => {
    const it = await limited(db(), 100n);
    await it.spend(40n);
    await it.set(30n);
    expect(await it.state()).toEqual({ limit: 30n, spent: 40n });
  });

  test("of zero refuses every request", async () => {
    const it = await limited(db(), 0n);
    expect(reason((await hold(db().sql, [it.request(1n)]))[0])).toBe("spending_limit_reached");
    expect(await it.state()).toEqual({ limit: 0n, spent: 0n });
  });

  test("is refilled to exactly the limit when its month is over, and not before, and once", async () => {
    const it = await limited(db(), 500n);
    await it.spend(200n);
    await it.refill(new Date(NEXT_MONTH.getTime() - 1));
    expect(await it.left()).toBe(300n);
    await it.refill(NEXT_MONTH);
    expect(await it.left()).toBe(500n);
    expect((await it.row()).limitPeriodEndsAt).toEqual(MONTH_AFTER);
    await it.spend(100n);
    await it.refill(NEXT_MONTH);
    expect(await it.left()).toBe(400n);
  });

  test("is refilled once by many concurrent calls", async () => {
    const it = await limited(db(), 500n);
    await it.spend(200n);
    await Promise.all(Array.from({ length: 8 }, () => it.refill(NEXT_MONTH)));
    expect(await it.left()).toBe(500n);
  });

  test("does not accumulate over months without requests", async () => {
    const it = await limited(db(), 500n);
    await it.spend(100n);
    await it.refill(new Date(Date.UTC(NOW.getUTCFullYear() + 1, 5, 15)));
    expect(await it.left()).toBe(500n);
  });

  test("at month's end, open requests count against the new month: no more than the limit in either", async () => {
    const it = await limited(db(), 500n);
    await it.spend(100n);
    const id = await it.hold(300n);
    await it.refill(NEXT_MONTH);
    // If they are charged in full, 300 + 200 is the new month's limit.
    expect(await it.left()).toBe(200n);
    await it.spend(200n);
    expect(reason((await hold(db().sql, [it.request(1n)]))[0])).toBe("credits_on_hold");
    await it.settle(id, 120n);
    expect(await it.left()).toBe(180n);
    expect(await it.state(NEXT_MONTH)).toEqual({ limit: 500n, spent: 320n });
  });

  test("at month's end, requests open since before it was lowered count against the new month as well", async () => {
    const it = await limited(db(), 100n);
    const id = await it.hold(80n);
    await it.set(50n);
    await it.refill(NEXT_MONTH);
    // All of the 80 may still be charged in the new month, whose limit is 50.
    expect(await it.left()).toBe(0n);
    await it.settle(id, 80n);
    expect(await it.left()).toBe(0n);
  });

  test("changed when its month is over begins a new month, without last month's spending", async () => {
    const it = await limited(db(), 500n);
    await it.spend(400n);
    expect(await it.state(NEXT_MONTH)).toEqual({ limit: 500n, spent: 0n });
    await it.set(300n, NEXT_MONTH);
    expect(await it.left()).toBe(300n);
    expect((await it.row()).limitPeriodEndsAt).toEqual(MONTH_AFTER);
  });

  test("removed refuses no request, and requests under way settle against its account", async () => {
    const it = await limited(db(), 100n);
    const limitId = (await it.row()).limitId ?? "";
    const id = await it.hold(100n);
    await it.set(null);
    expect(await it.row()).toMatchObject({ limitId: null, monthlyLimit: null, limitPeriodEndsAt: null });
    expect(await it.state()).toBe(null);
    await it.spend(5_000n);
    await it.settle(id, 60n);
    expect(await balanceOf(db().sql, limitId)).toEqual({ balance: 40n, held: 0n, available: 40n });
    await it.set(null);
    await it.set(70n);
    expect(await it.left()).not.toBe(null);
    expect((await verify(db().sql)).discrepancies).toEqual([]);
  });

  test("removed and set again counts and reports all that was spent this month, with a limit or without", async () => {
    const it = await limited(db(), 2_000_000n);
    await it.spend(234n);
    expect(await it.state()).toEqual({ limit: 2_000_000n, spent: 234n });
    await it.set(null);
    expect(await it.state()).toBe(null);
    await it.set(2_000_000n);
    expect(await it.state()).toEqual({ limit: 2_000_000n, spent: 234n });
    expect(await it.left()).toBe(1_999_766n);
    await it.set(null);
    await it.spend(1_000n);
    await it.set(2_000n);
    expect(await it.state()).toEqual({ limit: 2_000n, spent: 1_234n });
    expect(await it.left()).toBe(766n);
    await it.set(null);
    await it.set(1_000n);
    expect(await it.state()).toEqual({ limit: 1_000n, spent: 1_234n });
    expect(await it.left()).toBe(0n);
    expect((await verify(db().sql)).discrepancies).toEqual([]);
  });

  test("set for the first time counts what was spent before, and not what was spent with other apps, by the developer, or last month", async () => {
    const it = await limited(db());
    await it.spend(70n);
    await passMonth(db(), it.link);
    await it.spend(300n);
    const other = await makeApp(db(), { ownerId: it.person.id });
    const otherKey = await makeKey(db(), other.id);
    const theirs = await makeLink(db(), other.id, it.person);
    const bill = async (request: ReturnType<typeof holdRequest>) =>
      settle(db().sql, [settlement((await holdOne(db().sql, request)).id, 100n)]);
    await bill(holdRequest(otherKey, { externalUserId: theirs.externalUserId }));
    await bill(holdRequest(otherKey));
    await it.set(1_000n);
    expect(await it.state()).toEqual({ limit: 1_000n, spent: 300n });
    await transaction((tx) => setLimit(tx, theirs.id, 500n), db());
    const { limitId } = await db().prisma.linkedUser.findUniqueOrThrow({ where: { id: theirs.id } });
    expect((await balanceOf(db().sql, limitId ?? "")).available).toBe(400n);
  });

  test("set while requests without one are under way counts what they hold, until they return what they do not spend", async () => {
    const it = await limited(db());
    const [first, second] = [await it.hold(300n), await it.hold(100n)];
    const other = await makeApp(db());
    const theirs = await makeLink(db(), other.id, it.person);
    await holdOne(db().sql, holdRequest(await makeKey(db(), other.id), { externalUserId: theirs.externalUserId, amount: 999n }));
    await it.set(500n);
    expect(await it.left()).toBe(100n);
    expect(await it.state()).toEqual({ limit: 500n, spent: 0n });

    const ledger = openLedger(db());
    expect(reason(await ledger.hold(it.request(101n)))).toBe("spending_limit_reached");
    await it.settle(first, 50n);
    expect(await it.state()).toEqual({ limit: 500n, spent: 50n });
    expect(await ledger.hold(it.request(350n))).toMatchObject({ kind: "held", amount: 350n });
    await it.settle(second, 100n);
    expect(reason(await ledger.hold(it.request(1n)))).toBe("credits_on_hold");
    expect(await it.state()).toEqual({ limit: 500n, spent: 150n });
    expect((await verify(db().sql)).discrepancies).toEqual([]);
  });

  test("is recounted once after holds were settled, and never for a request that is refused for another reason", async () => {
    const it = await limited(db(), 500n);
    const ids = [await it.hold(200n), await it.hold(200n)];
    await it.set(100n);
    const ledger = openLedger(db());
    /** The version of the agreement's row, which changes with every write. */
    const version = async () =>
      String(
        (
          await db().prisma.$queryRaw<{ x: string }[]>`SELECT xmin::text AS x FROM agreement WHERE limit_id = (
        SELECT limit_id FROM linked_user WHERE id = ${it.link.id}::uuid)`
        )[0]?.x,
      );
    const before = await version();
    for (let turn = 0; turn < 3; turn++) expect(reason(await ledger.hold(it.request(1n)))).toBe("spending_limit_reached");
    expect(await version()).toBe(before);
    await it.settle(ids[0] ?? "", 10n);
    expect(await limitStanding(db().sql, it.link.id)).toEqual({ isDue: true, available: 0n });
    // The other request may still spend 200, so this one is refused. The limit is recounted once.
    expect(reason(await ledger.hold(it.request(1n)))).toBe("spending_limit_reached");
    const counted = await version();
    expect(counted).not.toBe(before);
    for (let turn = 0; turn < 3; turn++) expect(reason(await ledger.hold(it.request(1n)))).toBe("spending_limit_reached");
    expect(await version()).toBe(counted);
    await it.settle(ids[1] ?? "", 0n);
    expect(reason(await ledger.hold(it.request(90n)))).toBe("held");
    expect(await limitStanding(db().sql, it.link.id)).toEqual({ isDue: false, available: 0n });
    expect(await limitStanding(db().sql, randomUUID())).toBe(null);
    await transaction((tx) => recountLimit(tx, randomUUID()), db());
  });

  test("lets a stream's hold grow by what other requests returned since it was counted", async () => {
    const it = await limited(db());
    const earlier = await it.hold(400n);
    await it.set(500n);
    const stream = await it.hold(100n);
    const ledger = openLedger(db());
    const grow = (desired: bigint) => ledger.grow({ id: uuidv7(), holdId: stream, desired, minimum: 1n }, it.link.id);
    expect(await grow(50n)).toMatchObject({ kind: "refused" });
    await it.settle(earlier, 0n);
    expect(await grow(50n)).toEqual({ kind: "grown", amount: 50n });
    expect(await grow(500n)).toEqual({ kind: "grown", amount: 350n });
    await it.settle(stream, 450n);
    expect(await it.state()).toEqual({ limit: 500n, spent: 450n });
  });

  test("counts what a stream added to its hold", async () => {
    const it = await limited(db());
    const id = await it.hold(100n);
    const ledger = openLedger(db());
    expect(await ledger.grow({ id: uuidv7(), holdId: id, desired: 60n, minimum: 60n }, it.link.id)).toMatchObject({ kind: "grown" });
    await it.set(500n);
    expect(await it.left()).toBe(340n);
  });

  test("counts an open request of a server whose clock is far behind, until it is settled", async () => {
    const it = await limited(db());
    const { id } = await holdOne(db().sql, { ...it.request(300n), id: uuidv7({ msecs: Date.now() - 70 * 24 * 3_600_000 }) });
    await it.set(500n);
    expect(await it.left()).toBe(200n);
    const ledger = openLedger(db());
    expect(reason(await ledger.hold(it.request(201n)))).toBe("spending_limit_reached");
    await it.settle(id, 0n);
    expect(reason(await ledger.hold(it.request(500n)))).toBe("held");
  });

  test("refilled before its month is over leaves no more than before, because it counts the journal's month", async () => {
    const it = await limited(db(), 500n);
    await it.spend(400n);
    for (let turn = 0; turn < 3; turn++) {
      await db().prisma.linkedUser.update({ where: { id: it.link.id }, data: { limitPeriodEndsAt: new Date(Date.now() - 1) } });
      expect(reason(await openLedger(db()).hold(it.request(101n)))).toBe("spending_limit_reached");
      expect(await it.left()).toBe(100n);
    }
    expect(await it.state()).toEqual({ limit: 500n, spent: 400n });
  });

  test("counts what was spent before a server of the version before, which has no agreements, set it again", async () => {
    const it = await limited(db(), 500n);
    await it.spend(100n);
    const held = await it.hold(150n);
    // That version removed the limit and set it again with a new account, without counting what was spent.
    const limitId = await transaction((tx) => openAccount(tx, "limit"), db());
    await db().prisma.linkedUser.update({ where: { id: it.link.id }, data: { limitId, monthlyLimit: 600n, limitFormerIds: [] } });
    await it.set(600n);
    expect(await it.left()).toBe(350n);
    expect(await it.state()).toEqual({ limit: 600n, spent: 100n });
    await it.settle(held, 150n);
    expect(reason(await openLedger(db()).hold(it.request(350n)))).toBe("held");
    expect((await verify(db().sql)).discrepancies).toEqual([]);
  });

  test("below zero, or of an unknown linked user, is an error and changes nothing", async () => {
    const it = await limited(db(), 100n);
    await expect(it.set(-1n)).rejects.toBeInstanceOf(RangeError);
    await expect(transaction((tx) => setLimit(tx, randomUUID(), 5n), db())).rejects.toThrow();
    expect(await it.left()).toBe(100n);
  });

  test("whose month has passed is refilled by the next request", async () => {
    const it = await limited(db(), 500n);
    await it.spend(500n);
    await passMonth(db(), it.link);
    expect(await hold(db().sql, [it.request(10n)])).toEqual([{ kind: "limit_due", linkedUserId: it.link.id }]);
    const ledger = openLedger(db());
    const verdicts = await Promise.all(Array.from({ length: 12 }, () => ledger.hold(it.request(50n))));
    expect(verdicts.filter((verdict) => verdict.kind === "held")).toHaveLength(10);
    expect(verdicts.filter((verdict) => verdict.kind === "refused" && verdict.reason === "credits_on_hold")).toHaveLength(2);
    expect((await it.row()).limitPeriodEndsAt).toEqual(endOfMonth(new Date()));
  });

  test("is independent of the user's limits for other apps", async () => {
    const person = await makeUser(db(), { credits: 1_000n });
    const shops = await Promise.all(
      [100n, 300n].map(async (monthlyLimit) => {
        const app = await makeApp(db());
        return { key: await makeKey(db(), app.id), link: await makeLink(db(), app.id, person, { monthlyLimit }) };
      }),
    );
    const verdicts = await hold(
      db().sql,
      shops.map(({ key, link }) => holdRequest(key, { externalUserId: link.externalUserId, desiredBase: 1_000n, minimumBase: 1n })),
    );
    // Both ask for the whole wallet; each gets what its own limit leaves.
    expect(verdicts).toMatchObject([
      { kind: "held", amount: 100n },
      { kind: "held", amount: 300n },
    ]);
  });
});

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

test.each([
  ["2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00.000Z"],
  ["2026-01-31T23:59:59.999Z", "2026-02-01T00:00:00.000Z"],
  ["2028-02-29T12:00:00.000Z", "2028-03-01T00:00:00.000Z"],
  ["2026-12-31T23:59:59.999Z", "2027-01-01T00:00:00.000Z"],
  // Already April in Auckland, still March in UTC.
  ["2026-04-01T01:00:00.000+13:00", "2026-04-01T00:00:00.000Z"],
])("the month of %s ends at %s", (now, end) => {
  expect(endOfMonth(new Date(now)).toISOString()).toBe(end);
});
