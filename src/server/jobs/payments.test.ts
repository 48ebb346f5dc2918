import { afterEach, expect, test, vi } from "vitest";
import { onBothDatabases } from "#testing/database.ts";
import { withStripe } from "#testing/payments.ts";
import { platformAccount } from "../ledger/accounts.ts";
import { debtOf, takeBack } from "../ledger/debts.ts";
import { transfer } from "../ledger/transfer.ts";
import { startAutoTopUp } from "../payments/auto-top-up.ts";
import { transaction } from "../platform/db.ts";
import { newId } from "../platform/ids.ts";
import { startPaymentJobs } from "./payments.ts";

onBothDatabases("the jobs of payments", (db) => {
  const { fake, deliverAll, person } = withStripe(db);
  afterEach(() => {
    vi.useRealTimers();
  });

  test("collect debts while Stripe does not answer", async () => {
    const mara = await person();
    await startAutoTopUp(mara.owner, { threshold: 2_000_000n, packageId: "usd_10", monthlyMaximum: 30_000_000n });
    await deliverAll(fake().pay(await mara.checkout("usd_10", { saveCard: true })));
    const order = { amount: 9_000_000n, reason: "correction" } as const;
    await transfer(db().sql, { id: newId(), debitId: mara.walletId, creditId: platformAccount.revenue, ...order });
    const release = fake().hang("/v1/payment_intents");
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
    const jobs = startPaymentJobs(db(), { longestRequestMs: 600_000 });
    vi.advanceTimersByTime(3_000);
    try {
      await vi.waitFor(() => expect(fake().calls.at(-1)?.path).toBe("/v1/payment_intents"), 10_000);
      const back = {
        walletId: mara.walletId,
        otherId: platformAccount.world,
        amount: 3_000_000n,
        reason: "refund",
        description: "test",
      } as const;
      expect(await transaction((tx) => takeBack(tx, back), db())).toEqual({ taken: 1_000_000n, owed: 2_000_000n });
      const gift = { debitId: platformAccount.promotions, creditId: mara.walletId, amount: 2_500_000n, reason: "grant" } as const;
      await transfer(db().sql, { id: newId(), ...gift });
      vi.advanceTimersByTime(2_000);
      await vi.waitFor(async () => expect(await debtOf(db().sql, mara.walletId)).toBe(0n), 10_000);
      expect(await mara.balance()).toBe(500_000n);
    } finally {
      release();
      await jobs.stop();
    }
  });
});
