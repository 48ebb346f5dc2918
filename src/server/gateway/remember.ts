import type { Settlement } from "../ledger/hold.ts";
import { settle } from "../ledger/hold.ts";
import { resolutionOf } from "../ledger/kept.ts";
import type { Settled } from "../ledger/ledger.ts";
import { transaction } from "../platform/db.ts";
import { AppError } from "../platform/errors.ts";
import { log } from "../platform/log.ts";
import { type Answer, holdLifetimeMs, type Purchase } from "./purchase.ts";
import { unbilled } from "./refusals.ts";

/**
 * Settles, and writes the answer into the idempotency record in the same transaction. While
 * the database fails, it retries until the hold's lifetime is over, because the provider has
 * been paid for the answer; then it throws `unbilled`. Throws the AppErrors of `remember`.
 */
export async function billAndRemember(
  settlement: Settlement,
  remember: NonNullable<Purchase["remember"]>,
  answer: (verdict: Settled | null) => Answer & { kind: "json" },
): Promise<Answer> {
  const giveUpAt = performance.now() + holdLifetimeMs();
  for (let pauseMs = 200; ; pauseMs = Math.min(pauseMs * 2, 5_000)) {
    try {
      return await transaction(async (tx) => {
        const [verdict] = await settle(tx, [settlement]);
        if (verdict?.kind === "already_resolved") {
          const earlier = await resolutionOf(tx, settlement.id);
          // An earlier attempt was committed and its response lost. The record was committed with it.
          if (earlier?.outcome === settlement.outcome) return answer({ kind: "settled", charged: earlier.charged, balanceAfter: null });
        }
        // The sweeper has returned the hold: the answer is free, as without an Idempotency-Key.
        const billed = answer(verdict ?? { kind: "unknown_hold" });
        await remember(tx, billed);
        return billed;
      });
    } catch (error) {
      // Another request has taken over the key. The bill was rolled back and must not be retried.
      if (error instanceof AppError) throw error;
      log.error("settle failed", { request_id: settlement.id, error });
      if (performance.now() + pauseMs > giveUpAt) throw unbilled(error);
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  }
}
