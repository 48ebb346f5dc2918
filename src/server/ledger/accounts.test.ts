import { v7 as uuidv7 } from "uuid";
import { expect, test } from "vitest";
import { onBothDatabases } from "#testing/database.ts";
import { holdAll, holdRequest, settlement } from "#testing/ledger-requests.ts";
import { makeApp, makeKey } from "#testing/makers.ts";
import { transaction } from "../platform/db.ts";
import { balanceOf, foldDeltas, platformAccount } from "./accounts.ts";
import { settle } from "./hold.ts";
import { transfer } from "./transfer.ts";
import { verify } from "./verify.ts";

onBothDatabases("folding", (db) => {
  const waiting = async (accountId: string) => db().prisma.accountDelta.count({ where: { accountId } });

  test("moves deltas into the account's row, and changes no balance", async () => {
    const app = await makeApp(db(), { credits: 1_000n, markupBps: 1_000 });
    const key = await makeKey(db(), app.id);
    for (const held of await holdAll(
      db().sql,
      [1, 2, 3].map(() => holdRequest(key)),
    ))
      await settle(db().sql, [settlement(held.id, 100n, 10n)]);
    const revenue = await balanceOf(db().sql, platformAccount.revenue);
    expect(await waiting(app.earningsId)).toBe(3);
    expect((await balanceOf(db().sql, app.earningsId)).balance).toBe(30n);
    await foldDeltas(db().sql);
    expect(await waiting(app.earningsId)).toBe(0);
    expect((await db().prisma.account.findUniqueOrThrow({ where: { id: app.earningsId } })).available).toBe(30n);
    expect((await balanceOf(db().sql, app.earningsId)).balance).toBe(30n);
    expect(await balanceOf(db().sql, platformAccount.revenue)).toEqual(revenue);
    await foldDeltas(db().sql);
    expect((await balanceOf(db().sql, app.earningsId)).balance).toBe(30n);
    expect((await verify(db().sql)).discrepancies).toEqual([]);
  });

  test("one settlement batch adds one row per account that earns, not one per request", async () => {
    const app = await makeApp(db(), { credits: 10_000n });
    const key = await makeKey(db(), app.id);
    const held = await holdAll(
      db().sql,
      Array.from({ length: 50 }, () => holdRequest(key)),
    );
    await settle(
      db().sql,
      held.map(({ id }) => settlement(id, 10n, 1n)),
    );
    expect(await waiting(app.earningsId)).toBe(1);
    expect((await balanceOf(db().sql, app.earningsId)).balance).toBe(50n);
  });

  test("counts earnings exactly once beside concurrent settlements, payouts and a second fold", async () => {
    const app = await makeApp(db(), { credits: 100_000n });
    const key = await makeKey(db(), app.id);
    const lanes = [db().lane(), db().lane()] as const;
    const revenueBefore = (await balanceOf(db().sql, platformAccount.revenue)).balance;
    const held = await holdAll(
      db().sql,
      Array.from({ length: 120 }, () => holdRequest(key, { amount: 20n })),
    );
    let settling = true;
    let earned = 0n;
    let paidOut = 0n;

    const settleAll = async () => {
      for (const { id } of held) {
        await settle(lanes[0], [settlement(id, 7n, 3n)]);
        earned += 3n;
      }
      settling = false;
    };
    const fold = async () => {
      while (settling) await foldDeltas(lanes[1]);
    };
    const foldAsWell = async () => {
      while (settling) await foldDeltas(db().sql);
    };
    const payOut = async () => {
      for (let turn = 0; turn < 10; turn++) {
        const outcome = await transfer(db().sql, {
          id: uuidv7(),
          debitId: app.earningsId,
          creditId: platformAccount.world,
          amount: 5n,
          reason: "payout",
        });
        if (outcome === "applied") paidOut += 5n;
      }
    };
    const watch = async () => {
      while (settling) {
        // A settlement may commit during this read, but each that was answered before it is counted, and once.
        const before = earned;
        const paidAtMost = 50n;
        const { balance } = await balanceOf(db().sql, app.earningsId);
        expect(balance + paidAtMost).toBeGreaterThanOrEqual(before);
        expect(balance).toBeLessThanOrEqual(earned + 3n);
      }
    };
    await Promise.all([settleAll(), fold(), foldAsWell(), payOut(), watch()]);

    expect((await balanceOf(db().sql, app.earningsId)).balance).toBe(360n - paidOut);
    expect((await balanceOf(db().sql, platformAccount.revenue)).balance - revenueBefore).toBe(840n);
    await foldDeltas(db().sql);
    expect((await balanceOf(db().sql, app.earningsId)).balance).toBe(360n - paidOut);
    expect(await waiting(app.earningsId)).toBe(0);
    expect((await verify(db().sql)).discrepancies).toEqual([]);
  });

  test("twenty folds at once count every delta once", async () => {
    const app = await makeApp(db(), { credits: 100_000n });
    const key = await makeKey(db(), app.id);
    const held = await holdAll(
      db().sql,
      Array.from({ length: 40 }, () => holdRequest(key, { amount: 20n })),
    );
    for (const { id } of held) await settle(db().sql, [settlement(id, 7n, 3n)]);
    await Promise.all(Array.from({ length: 20 }, () => foldDeltas(db().sql)));
    expect((await db().prisma.account.findUniqueOrThrow({ where: { id: app.earningsId } })).available).toBe(120n);
    expect(await waiting(app.earningsId)).toBe(0);
  });

  test("a fold that is rolled back leaves the deltas", async () => {
    const app = await makeApp(db(), { credits: 1_000n });
    const key = await makeKey(db(), app.id);
    const [held] = await holdAll(db().sql, [holdRequest(key)]);
    await settle(db().sql, [settlement(held?.id ?? "", 7n, 3n)]);
    const undo = new Error("undo");
    await expect(
      transaction(async (tx) => {
        await foldDeltas(tx);
        expect((await balanceOf(tx, app.earningsId)).balance).toBe(3n);
        throw undo;
      }, db()),
    ).rejects.toBe(undo);
    expect(await waiting(app.earningsId)).toBe(1);
    expect((await balanceOf(db().sql, app.earningsId)).balance).toBe(3n);
  });
});
