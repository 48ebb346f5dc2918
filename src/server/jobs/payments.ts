import { walletsToCollect } from "../ledger/debts.ts";
import { topUpAutomatically } from "../payments/auto-top-up.ts";
import { repayDebt } from "../payments/fulfil.ts";
import { lowBalanceWatch } from "../payments/low-balance.ts";
import { syncOpenCheckouts } from "../payments/sync.ts";
import { purgeStripeNews } from "../payments/webhook.ts";
import type { Database } from "../platform/db.ts";
import { transaction } from "../platform/db.ts";
import { log } from "../platform/log.ts";

/**
 * What filling wallets needs now and then, by every server process: automatic top-ups,
 * collecting debts, mails about low balances, and asking Stripe after what it did not
 * tell. Each is safe in several processes at once. What waits for Stripe has a queue of
 * its own, so that a Stripe that hangs delays nothing that is only about the books; both
 * are beside the housekeeping.
 */
export function startPaymentJobs(db: Database, options: { longestRequestMs: number }): { stop(): Promise<void> } {
  const running = { books: Promise.resolve(), stripe: Promise.resolve() };
  let stopped = false;
  const watch = lowBalanceWatch(options.longestRequestMs);
  const timers = [
    every("books", 2_000, "collect debts", () => collectDebts(db)),
    every("stripe", 3_000, "top up automatically", () => topUpAutomatically(db)),
    every("books", 10_000, "tell about low balances", () => watch(db)),
    every("stripe", 60_000, "ask after open checkouts", () => syncOpenCheckouts()),
    every("books", 3_600_000, "forget Stripe's old news", () => purgeStripeNews()),
  ];

  function every(queue: keyof typeof running, intervalMs: number, name: string, work: () => Promise<void>): NodeJS.Timeout {
    let waiting = false;
    const timer = setInterval(() => {
      // Rounds must not pile up behind one that takes long.
      if (waiting) return;
      waiting = true;
      running[queue] = running[queue]
        .then(() => (stopped ? undefined : work()))
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
      stopped = true;
      for (const timer of timers) clearInterval(timer);
      await Promise.all([running.books, running.stripe]);
    },
  };
}

/** Takes what came back to wallets that owe. */
export async function collectDebts(db: Database): Promise<void> {
  for (const walletId of await walletsToCollect(db.sql)) await transaction((tx) => repayDebt(tx, walletId), db);
}
