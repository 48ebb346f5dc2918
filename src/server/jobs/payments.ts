import { repay, walletsToCollect } from "../ledger/debts.ts";
import { topUpAutomatically } from "../payments/auto-top-up.ts";
import { lowBalanceWatch } from "../payments/low-balance.ts";
import { syncOpenCheckouts } from "../payments/sync.ts";
import { purgeStripeNews } from "../payments/webhook.ts";
import type { Database } from "../platform/db.ts";
import { transaction } from "../platform/db.ts";
import { log } from "../platform/log.ts";

/**
 * What filling wallets needs now and then, by every server process: automatic top-ups,
 * collecting debts, mails about low balances, and asking Stripe after what it did not
 * tell. Each is safe in several processes at once. They wait for Stripe, so they have a
 * queue of their own beside the housekeeping.
 */
export function startPaymentJobs(db: Database, options: { longestRequestMs: number }): { stop(): Promise<void> } {
  let running: Promise<void> = Promise.resolve();
  const watch = lowBalanceWatch(options.longestRequestMs);
  const timers = [
    every(2_000, "collect debts", () => collectDebts(db)),
    every(3_000, "top up automatically", () => topUpAutomatically(db)),
    every(10_000, "tell about low balances", () => watch(db)),
    every(60_000, "ask after open checkouts", () => syncOpenCheckouts()),
    every(3_600_000, "forget Stripe's old news", () => purgeStripeNews()),
  ];

  function every(intervalMs: number, name: string, work: () => Promise<void>): NodeJS.Timeout {
    let waiting = false;
    const timer = setInterval(() => {
      // Stripe may be slow; rounds must not pile up behind it.
      if (waiting) return;
      waiting = true;
      running = running
        .then(work)
        .catch((error: unknown) => log.error(`${name} failed`, { error }))
        .finally(() => {
          waiting = false;
        });
    }, intervalMs);
    timer.unref();
    return timer;
  }

  return {
    async stop() {
      for (const timer of timers) clearInterval(timer);
      await running;
    },
  };
}

/** Takes what came back to wallets that owe. */
export async function collectDebts(db: Database): Promise<void> {
  for (const walletId of await walletsToCollect(db.sql)) await transaction((tx) => repay(tx, walletId), db);
}
