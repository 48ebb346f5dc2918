import { describe, expect, test, vi } from "vitest";
import { onBothDatabases } from "#testing/database.ts";
import { holdOne, holdRequest, settlement } from "#testing/ledger-requests.ts";
import { makeApp, makeKey, makeLink } from "#testing/makers.ts";
import { withStripe } from "#testing/payments.ts";
import { collectDebts } from "../jobs/payments.ts";
import { platformAccount } from "../ledger/accounts.ts";
import { debtOf, takeBack } from "../ledger/debts.ts";
import { hold, settle } from "../ledger/hold.ts";
import { transfer } from "../ledger/transfer.ts";
import { transaction } from "../platform/db.ts";
import { newId } from "../platform/ids.ts";
import { lowBalanceWatch } from "./low-balance.ts";

onBothDatabases("spending", (db) => {
  const { mailsTo, person } = withStripe(db);

  async function spender(credits: bigint) {
    const mara = await person(credits);
    const app = await makeApp(db());
    const key = await makeKey(db(), app.id);
    const link = await makeLink(db(), app.id, mara);
    const request = (amount: bigint) => holdRequest(key, { externalUserId: link.externalUserId, amount });
    return {
      ...mara,
      request,
      async spend(amount: bigint) {
        const held = await holdOne(db().sql, request(amount));
        await settle(db().sql, [settlement(held.id, amount)]);
      },
      gift: (amount: bigint) =>
        transfer(db().sql, { id: newId(), debitId: platformAccount.promotions, creditId: mara.walletId, amount, reason: "grant" }),
    };
  }
  /** The mail is sent after the round that found the balance. */
  const expectMails = (email: string, count: number) => vi.waitFor(() => expect(lowMails(email)).toHaveLength(count));
  const lowMails = (email: string) => mailsTo(email).filter((mail) => mail.includes("left"));

  describe("a low balance", () => {
    test("is mailed once each time the balance falls, by one of several servers", async () => {
      const mara = await spender(2_000_000n);
      const servers = [1, 2, 3].map(() => lowBalanceWatch(600_000));
      const look = async () => void (await Promise.all(servers.map((watch) => watch(db(), Date.now() + 1_000))));
      await mara.spend(1_000_000n);
      await look();
      expect(lowMails(mara.email)).toHaveLength(0);
      await mara.spend(600_000n);
      await look();
      await mara.spend(100_000n);
      await look();
      await expectMails(mara.email, 1);
      expect(lowMails(mara.email)[0]).toContain("$0.40 left");
      await mara.gift(1_000_000n);
      await look();
      await mara.spend(900_000n);
      await look();
      await expectMails(mara.email, 2);
    });

    test("after a request that ended long after it began is mailed too", async () => {
      const mara = await spender(1_000_000n);
      const watch = lowBalanceWatch(600_000);
      const held = await holdOne(db().sql, mara.request(900_000n));
      const begun = Date.now();
      await watch(db(), begun + 1_000);
      await watch(db(), begun + 120_000);
      await settle(db().sql, [settlement(held.id, 900_000n)]);
      await watch(db(), begun + 130_000);
      expect(lowMails(mara.email)).toHaveLength(0);
      await watch(db(), begun + 900_000);
      await expectMails(mara.email, 1);
    });

    test("is not mailed to a user who has turned these mails off", async () => {
      const mara = await spender(1_000_000n);
      await db().prisma.billing.create({ data: { ...mara.owner, lowBalanceMail: false } });
      await mara.spend(900_000n);
      await lowBalanceWatch(600_000)(db(), Date.now() + 1_000);
      expect(lowMails(mara.email)).toHaveLength(0);
    });
  });

  describe("a wallet with a debt", () => {
    const takeAll = (walletId: string, amount: bigint) =>
      transaction((tx) => takeBack(tx, { walletId, otherId: platformAccount.world, amount, reason: "refund", description: "test" }), db());

    test("refuses holds, and pays its debt with what requests under way return", async () => {
      const mara = await spender(1_000_000n);
      const open = await holdOne(db().sql, mara.request(700_000n));
      expect(await takeAll(mara.walletId, 1_000_000n)).toEqual({ taken: 300_000n, owed: 700_000n });
      const [refused] = await hold(db().sql, [mara.request(1n)]);
      // The refusal counts credits on hold: when they return, they repay the debt.
      expect(refused).toMatchObject({ kind: "refused", reason: "credits_on_hold", available: 0n });
      await settle(db().sql, [settlement(open.id, 100_000n)]);
      await Promise.all([collectDebts(db()), collectDebts(db())]);
      expect([await mara.balance(), await debtOf(db().sql, mara.walletId)]).toEqual([0n, 100_000n]);
      await mara.gift(250_000n);
      await collectDebts(db());
      expect([await mara.balance(), await debtOf(db().sql, mara.walletId)]).toEqual([150_000n, 0n]);
    });
  });
});
