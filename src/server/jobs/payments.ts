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
 * Periodic work of every server process for payments: automatic top-ups, collecting debts, mails
 * about low balances, and looking up checkouts at Stripe. Each job is safe in several processes at
 * once. Jobs that call Stripe have a queue of their own, so that a Stripe that does not answer does
 * not delay the others; neither queue delays the housekeeping.
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

/** Pays debts from credits that came to their wallets. */
export async function collectDebts(db: Database): Promise<void> {
  for (const walletId of await walletsToCollect(db.sql)) await transaction((tx) => repayDebt(tx, walletId), db);
}
