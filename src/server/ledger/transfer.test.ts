import { randomUUID } from "node:crypto";
import { v7 as uuidv7 } from "uuid";
import { describe, expect, test } from "vitest";
import { onBothDatabases, withDatabase } from "#testing/database.ts";
import { holdOne, holdRequest, settlement, someoneWaits, until } from "#testing/ledger-requests.ts";
import { makeApp, makeKey, makeUser } from "#testing/makers.ts";
import { type Database, transaction } from "../platform/db.ts";
import { balanceOf, foldDeltas, openAccount, platformAccount } from "./accounts.ts";
import { settle } from "./hold.ts";
import { type Transfer, transfer } from "./transfer.ts";
import { verify } from "./verify.ts";

const move = (debitId: string, creditId: string, amount: bigint, id = uuidv7()): Transfer => ({
  id,
  debitId,
  creditId,
  amount,
  reason: "correction",
});

async function walletWith(db: Database, credits: bigint): Promise<string> {
  return (await makeUser(db, { credits })).walletId;
}

onBothDatabases("transfer", (db) => {
  test("moves credits from one account to the other", async () => {
    const [a, b] = [await walletWith(db(), 100n), await walletWith(db(), 5n)];
    expect(await transfer(db().sql, move(a, b, 30n))).toBe("applied");
    expect((await balanceOf(db().sql, a)).available).toBe(70n);
    expect((await balanceOf(db().sql, b)).available).toBe(35n);
  });

  test("a second transfer with the same id moves nothing, not even with another amount or after the account is empty", async () => {
    const [a, b] = [await walletWith(db(), 100n), await walletWith(db(), 0n)];
    const once = move(a, b, 100n);
    expect(await transfer(db().sql, once)).toBe("applied");
    expect(await transfer(db().sql, once)).toBe("duplicate");
    expect(await transfer(db().sql, { ...once, amount: 1n })).toBe("duplicate");
    expect(await transfer(db().sql, { ...once, debitId: b, creditId: a })).toBe("duplicate");
    expect((await balanceOf(db().sql, a)).available).toBe(0n);
    expect((await balanceOf(db().sql, b)).available).toBe(100n);
  });

  test("an account pays to its last credit and not one more", async () => {
    const [a, b] = [await walletWith(db(), 100n), await walletWith(db(), 0n)];
    expect(await transfer(db().sql, move(a, b, 101n))).toBe("insufficient");
    expect(await transfer(db().sql, move(a, b, 100n))).toBe("applied");
    expect(await transfer(db().sql, move(a, b, 1n))).toBe("insufficient");
    expect((await balanceOf(db().sql, b)).available).toBe(100n);
  });

  test("a transfer that was refused leaves no row, so its id can be tried again later", async () => {
    const [a, b] = [await walletWith(db(), 10n), await walletWith(db(), 0n)];
    const later = move(a, b, 20n);
    expect(await transfer(db().sql, later)).toBe("insufficient");
    expect(await db().prisma.transfer.count({ where: { id: later.id } })).toBe(0);
    await transfer(db().sql, move(platformAccount.world, a, 10n));
    expect(await transfer(db().sql, later)).toBe("applied");
  });

  test("held credits can't be transferred", async () => {
    const owner = await makeUser(db(), { credits: 100n });
    const key = await makeKey(db(), (await makeApp(db(), { ownerId: owner.id })).id);
    await holdOne(db().sql, holdRequest(key, { amount: 80n }));
    expect(await transfer(db().sql, move(owner.walletId, platformAccount.world, 21n))).toBe("insufficient");
    expect(await transfer(db().sql, move(owner.walletId, platformAccount.world, 20n))).toBe("applied");
  });

  test("platform accounts may go below zero, and their balances say how much they paid", async () => {
    const before = (await balanceOf(db().sql, platformAccount.promotions)).balance;
    const wallet = await walletWith(db(), 0n);
    await transfer(db().sql, move(platformAccount.promotions, wallet, 1_000n));
    await transfer(db().sql, move(platformAccount.promotions, wallet, 500n));
    await transfer(db().sql, move(wallet, platformAccount.promotions, 200n));
    expect((await balanceOf(db().sql, platformAccount.promotions)).balance - before).toBe(-1_300n);
    expect(await transfer(db().sql, move(platformAccount.world, platformAccount.promotions, 7n))).toBe("applied");
    expect((await balanceOf(db().sql, platformAccount.promotions)).balance - before).toBe(-1_293n);
  });

  test("folded earnings can be paid out, and only as many as there are", async () => {
    const app = await makeApp(db(), { credits: 1_000n, markupBps: 5_000 });
    const key = await makeKey(db(), app.id);
    const held = await holdOne(db().sql, holdRequest(key, { amount: 200n }));
    await settle(db().sql, [settlement(held.id, 200n, 100n)]);
    await foldDeltas(db().sql);
    expect(await transfer(db().sql, move(app.earningsId, platformAccount.world, 101n))).toBe("insufficient");
    expect(await transfer(db().sql, move(app.earningsId, platformAccount.world, 60n))).toBe("applied");
    expect((await balanceOf(db().sql, app.earningsId)).balance).toBe(40n);
    const wallet = await walletWith(db(), 0n);
    expect(await transfer(db().sql, move(app.earningsId, wallet, 40n))).toBe("applied");
    expect((await balanceOf(db().sql, app.earningsId)).balance).toBe(0n);
  });

  test("an amount of zero or less, an unknown account and a transfer to the same account are errors, and nothing moves", async () => {
    const wallet = await walletWith(db(), 100n);
    await expect(transfer(db().sql, move(platformAccount.world, wallet, 0n))).rejects.toBeInstanceOf(RangeError);
    await expect(transfer(db().sql, move(platformAccount.world, wallet, -5n))).rejects.toBeInstanceOf(RangeError);
    await expect(transfer(db().sql, move(platformAccount.world, randomUUID(), 5n))).rejects.toThrow("unknown accounts");
    await expect(transfer(db().sql, move(randomUUID(), wallet, 5n))).rejects.toThrow("unknown accounts");
    await expect(transfer(db().sql, move(wallet, wallet, 5n))).rejects.toMatchObject({ code: "23514" });
    expect((await balanceOf(db().sql, wallet)).available).toBe(100n);
  });

  test("a transfer is part of its caller's transaction", async () => {
    const wallet = await walletWith(db(), 100n);
    const undo = new Error("undo");
    await expect(
      transaction(async (tx) => {
        expect(await transfer(tx, move(wallet, platformAccount.world, 60n))).toBe("applied");
        throw undo;
      }, db()),
    ).rejects.toBe(undo);
    expect((await balanceOf(db().sql, wallet)).available).toBe(100n);
    expect((await verify(db().sql)).discrepancies).toEqual([]);
  });

  test("an account that does not exist has no balance", async () => {
    await expect(balanceOf(db().sql, randomUUID())).rejects.toThrow("no account");
  });

  test("twenty concurrent transfers with one id move its credits once", async () => {
    const [a, b] = [await walletWith(db(), 100n), await walletWith(db(), 0n)];
    const twin = move(a, b, 100n);
    const outcomes = await Promise.all(Array.from({ length: 20 }, () => transfer(db().sql, twin)));
    expect(outcomes.sort()).toEqual(["applied", ...new Array(19).fill("duplicate")]);
    expect((await balanceOf(db().sql, b)).available).toBe(100n);
  });
});

describe("while another transaction has the account locked", () => {
  const db = withDatabase("postgres");

  test("a transfer that waited for one with its id, which emptied the account, is a duplicate, not insufficient", async () => {
    const [a, b] = [await walletWith(db(), 100n), await walletWith(db(), 0n)];
    const twin = move(a, b, 100n);
    let waiting: Promise<string> | undefined;
    await transaction(async (tx) => {
      expect(await transfer(tx, twin)).toBe("applied");
      waiting = transfer(db().sql, twin);
      await until(() => someoneWaits(db().sql));
    }, db());
    expect(await waiting).toBe("duplicate");
  });

  test("a transfer that waited for one with its id, which was rolled back, is applied", async () => {
    const [a, b] = [await walletWith(db(), 100n), await walletWith(db(), 0n)];
    const twin = move(a, b, 100n);
    const undo = new Error("undo");
    let waiting: Promise<string> | undefined;
    await expect(
      transaction(async (tx) => {
        await transfer(tx, twin);
        waiting = transfer(db().sql, twin);
        await until(() => someoneWaits(db().sql));
        throw undo;
      }, db()),
    ).rejects.toBe(undo);
    expect(await waiting).toBe("applied");
    expect((await balanceOf(db().sql, b)).available).toBe(100n);
  });

  test("a second top-up with the same id waits for the first and is a duplicate", async () => {
    const wallet = await walletWith(db(), 0n);
    const twin = move(platformAccount.world, wallet, 100n);
    let waiting: Promise<string> | undefined;
    await transaction(async (tx) => {
      await transfer(tx, twin);
      waiting = transfer(db().sql, twin);
      await until(() => someoneWaits(db().sql));
    }, db());
    expect(await waiting).toBe("duplicate");
    expect((await balanceOf(db().sql, wallet)).available).toBe(100n);
  });

  test("a payment that waited for a top-up can spend it", async () => {
    const [a, b] = [await walletWith(db(), 1n), await walletWith(db(), 0n)];
    let waiting: Promise<string> | undefined;
    await transaction(async (tx) => {
      await transfer(tx, move(platformAccount.world, a, 99n));
      waiting = transfer(db().sql, move(a, b, 100n));
      await until(() => someoneWaits(db().sql));
    }, db());
    expect(await waiting).toBe("applied");
    expect((await balanceOf(db().sql, a)).available).toBe(0n);
  });

  test("concurrent transfers in both directions don't deadlock", async () => {
    const [a, b, c] = [await walletWith(db(), 50n), await walletWith(db(), 50n), await walletWith(db(), 50n)];
    const pairs = [
      [a, b],
      [b, a],
      [b, c],
      [c, b],
      [c, a],
      [a, c],
    ] as const;
    const outcomes = await Promise.all(
      Array.from({ length: 240 }, (_, index) =>
        transfer(db().sql, move(...(pairs[index % pairs.length] ?? [a, b]), BigInt(1 + (index % 40)))),
      ),
    );
    expect(outcomes).toContain("applied");
    const balances = await Promise.all([a, b, c].map((account) => balanceOf(db().sql, account)));
    expect(balances.reduce((sum, { balance }) => sum + balance, 0n)).toBe(150n);
    expect((await verify(db().sql)).discrepancies).toEqual([]);
  });

  test("an account can be opened and filled in one transaction, and is visible to others after its commit", async () => {
    let accountId = "";
    await transaction(async (tx) => {
      accountId = await openAccount(tx, "wallet");
      await transfer(tx, move(platformAccount.world, accountId, 10n));
      await expect(balanceOf(db().sql, accountId)).rejects.toThrow("no account");
    }, db());
    expect((await balanceOf(db().sql, accountId)).balance).toBe(10n);
  });
});
