import { randomUUID } from "node:crypto";
import { v7 as uuidv7 } from "uuid";
import { expect, test } from "vitest";
import { inEveryZone } from "#testing/database.ts";
import { holdOne, holdRequest, settlement } from "#testing/ledger-requests.ts";
import { limited, NEXT_MONTH, reason } from "#testing/limited.ts";
import { makeApp, makeKey, makeLink, makeUser, passMonth } from "#testing/makers.ts";
import { transaction } from "../platform/db.ts";
import { balanceOf, openAccount } from "./accounts.ts";
import { hold, settle } from "./hold.ts";
import { openLedger } from "./ledger.ts";
import { limitStanding, recountLimit, setLimit } from "./limits.ts";
import { verify } from "./verify.ts";

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
