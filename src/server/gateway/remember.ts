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
 * Repeated while the database is away, as long as the hold lives: the answer is there
 * and has been paid for, and nothing is named or kept before the bill is committed.
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
          // An earlier attempt was committed unheard, and its answer with it.
          if (earlier?.outcome === settlement.outcome) return answer({ kind: "settled", charged: earlier.charged, balanceAfter: null });
        }
        // Without a hold, because the sweeper came first, the answer is free, as it is without a key.
        const billed = answer(verdict ?? { kind: "unknown_hold" });
        await remember(tx, billed);
        return billed;
      });
    } catch (error) {
      // Another request has the key now: this one's bill was rolled back and may not be tried again.
      if (error instanceof AppError) throw error;
      log.error("settle failed", { request_id: settlement.id, error });
      if (performance.now() + pauseMs > giveUpAt) throw unbilled(error);
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  }
}
