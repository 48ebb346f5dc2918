import { walletsToCollect } from "../ledger/debts.ts";
import { topUpAutomatically } from "../payments/auto-top-up.ts";
import { repayDebt } from "../payments/fulfil.ts";
import { lowBalanceWatch } from "../payments/low-balance.ts";
import { syncOpenCheckouts } from "../payments/sync.ts";
import { purgeStripeNews } from "../payments/webhook.ts";
import type { Database } from "../platform/db.ts";
import { transaction } from "../platform/db.ts";
import { Schedule } from "./schedule.ts";

/**
 * What filling wallets needs now and then, by every server process: automatic top-ups,
 * collecting debts, mails about low balances, and asking Stripe after what it did not
 * tell. Each is safe in several processes at once. What waits for Stripe has a queue of
 * its own, so that a Stripe that hangs delays nothing that is only about the books; both
 * are beside the housekeeping.
 */
export function startPaymentJobs(db: Database, options: { longestRequestMs: number }): { stop(): Promise<void> } {
  const books = new Schedule();
  const stripe = new Schedule();
  const watch = lowBalanceWatch(options.longestRequestMs);
  books.every(2_000, "collect debts", () => collectDebts(db));
  stripe.every(3_000, "top up automatically", () => topUpAutomatically(db));
  books.every(10_000, "tell about low balances", () => watch(db));
  stripe.every(60_000, "ask after open checkouts", () => syncOpenCheckouts());
  books.every(3_600_000, "forget Stripe's old news", () => purgeStripeNews());

  return {
    async stop() {
      await Promise.all([books.stop(), stripe.stop()]);
    },
  };
}

/** Takes what came back to wallets that owe. */
export async function collectDebts(db: Database): Promise<void> {
  for (const walletId of await walletsToCollect(db.sql)) await transaction((tx) => repayDebt(tx, walletId), db);
}
