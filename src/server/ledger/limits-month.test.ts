import { expect, test } from "vitest";
import { inEveryZone } from "#testing/database.ts";
import { limited, NEXT_MONTH, NOW, reason } from "#testing/limited.ts";
import { passMonth } from "#testing/makers.ts";
import { hold } from "./hold.ts";
import { openLedger } from "./ledger.ts";
import { endOfMonth } from "./limits.ts";

const MONTH_AFTER = endOfMonth(NEXT_MONTH);

inEveryZone("a limit", (db) => {
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
