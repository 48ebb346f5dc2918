import { v7 as uuidv7 } from "uuid";
import { describe, expect, test } from "vitest";
import { withDatabase } from "#testing/database.ts";
import { holdOne, holdRequest, settlement, someoneWaits, until } from "#testing/ledger-requests.ts";
import { outcome, shop } from "#testing/shops.ts";
import { transaction } from "../platform/db.ts";
import { balanceOf, platformAccount } from "./accounts.ts";
import { type HoldVerdict, hold, settle } from "./hold.ts";
import { transfer } from "./transfer.ts";
import { verify } from "./verify.ts";

describe("while another connection has the wallet locked", () => {
  const db = withDatabase("postgres");

  test("a batch that waited for a top-up can spend its credits", async () => {
    const { key, owner } = await shop(db(), { ownerCredits: 10n });
    const lane = db().lane();
    let waiting: Promise<HoldVerdict | undefined> | undefined;
    await transaction(async (tx) => {
      await transfer(tx, { id: uuidv7(), debitId: platformAccount.promotions, creditId: owner.walletId, amount: 90n, reason: "grant" });
      // Its snapshot is from before the top-up, in which the wallet could not pay.
      waiting = hold(lane, [holdRequest(key, { amount: 100n })]).then(([verdict]) => verdict);
      await until(() => someoneWaits(db().sql));
    }, db());
    expect(outcome(await waiting)).toBe(100n);
    expect(await balanceOf(db().sql, owner.walletId)).toEqual({ balance: 100n, held: 100n, available: 0n });
  });

  test("a batch that waited for a withdrawal can't spend what was withdrawn", async () => {
    const { key, owner } = await shop(db(), { ownerCredits: 100n });
    const lane = db().lane();
    let waiting: Promise<HoldVerdict | undefined> | undefined;
    await transaction(async (tx) => {
      await transfer(tx, { id: uuidv7(), debitId: owner.walletId, creditId: platformAccount.world, amount: 60n, reason: "refund" });
      waiting = hold(lane, [holdRequest(key, { desiredBase: 100n, minimumBase: 1n })]).then(([verdict]) => verdict);
      await until(() => someoneWaits(db().sql));
    }, db());
    expect(outcome(await waiting)).toBe(40n);
    expect(await balanceOf(db().sql, owner.walletId)).toEqual({ balance: 40n, held: 40n, available: 0n });
  });

  test("a settlement that waited for one of the same hold moves nothing", async () => {
    const { key, owner } = await shop(db(), { ownerCredits: 100n });
    const held = await holdOne(db().sql, holdRequest(key));
    const lane = db().lane();
    let waiting: ReturnType<typeof settle> | undefined;
    await transaction(async (tx) => {
      await settle(tx, [settlement(held.id, 30n)]);
      waiting = settle(lane, [settlement(held.id, 80n)]);
      await until(() => someoneWaits(db().sql));
    }, db());
    expect(await waiting).toEqual([{ kind: "already_resolved" }]);
    expect(await balanceOf(db().sql, owner.walletId)).toEqual({ balance: 70n, held: 0n, available: 70n });
    expect((await verify(db().sql)).discrepancies).toEqual([]);
  });

  test("a settlement that waited for one that was rolled back settles the hold", async () => {
    const { key, owner } = await shop(db(), { ownerCredits: 100n });
    const held = await holdOne(db().sql, holdRequest(key));
    const lane = db().lane();
    const undo = new Error("undo");
    let waiting: ReturnType<typeof settle> | undefined;
    await expect(
      transaction(async (tx) => {
        await settle(tx, [settlement(held.id, 30n)]);
        waiting = settle(lane, [settlement(held.id, 80n)]);
        await until(() => someoneWaits(db().sql));
        throw undo;
      }, db()),
    ).rejects.toBe(undo);
    expect(await waiting).toEqual([{ kind: "settled", charged: 80n, balanceAfter: 20n }]);
    expect(await balanceOf(db().sql, owner.walletId)).toEqual({ balance: 20n, held: 0n, available: 20n });
  });
});
