import type { Database } from "../platform/db.ts";
import { database, transaction } from "../platform/db.ts";
import { log } from "../platform/log.ts";
import { type Sql, toBigInt } from "../platform/sql.ts";
import { Batcher } from "./batcher.ts";
import { type HoldRequest, type HoldVerdict, hold, type Settlement, type SettleVerdict, settle } from "./hold.ts";
import { refillLimit } from "./limits.ts";

/**
 * The ledger as the gateway sees it: holds and settles from all requests of this
 * process, each kind in batches.
 */
export type Ledger = {
  /** Decides one request; see `hold` for what that means. Throws QueueFullError. */
  hold(request: HoldRequest): Promise<Exclude<HoldVerdict, { kind: "limit_due" }>>;
  /**
   * Settles one hold and keeps trying while the database is away: an answer that
   * was paid for must not be forgotten. Gives up when the hold's lifetime is over,
   * because the sweeper has returned the credits by then.
   */
  settle(settlement: Settlement, lifetimeMs: number): Promise<SettleVerdict>;
  /** Settlements that have not been committed yet. */
  readonly unsettled: number;
};

const shared = globalThis as unknown as { quotaLedger?: Promise<Ledger> };

export function ledger(): Promise<Ledger> {
  shared.quotaLedger ??= database().then(openLedger);
  return shared.quotaLedger;
}

async function databaseTime(sql: Sql): Promise<Date> {
  const [row] = await sql.query({ name: "ledger_now", text: `SELECT (extract(epoch FROM now()) * 1000)::bigint AS ms` }, []);
  return new Date(Number(toBigInt(row?.ms)));
}

export function openLedger(db: Database): Ledger {
  // One connection for both: while one kind of batch is under way the other grows, and
  // larger batches cost less than two at a time (docs/performance.md).
  const lane = db.lane();
  const holds = new Batcher<HoldRequest, HoldVerdict>((requests) => hold(lane, requests));
  const settles = new Batcher<Settlement, SettleVerdict>((settlements) => settle(lane, settlements), {
    // Never refuse to write down what was delivered.
    maxWaiting: Number.POSITIVE_INFINITY,
  });
  let unsettled = 0;

  return {
    async hold(request) {
      for (;;) {
        const verdict = await holds.push(request);
        if (verdict.kind !== "limit_due") return verdict;
        // By the database's clock, which found the month over: a clock that is behind would find it not over, for ever.
        await transaction(async (tx) => refillLimit(tx, verdict.linkedUserId, await databaseTime(tx)), db);
      }
    },
    async settle(settlement, lifetimeMs) {
      const giveUpAt = Date.now() + lifetimeMs;
      unsettled++;
      try {
        for (let pauseMs = 50; ; pauseMs = Math.min(pauseMs * 2, 5_000)) {
          try {
            return await settles.push(settlement);
          } catch (error) {
            // Settling is idempotent, so an unknown outcome is simply asked again.
            log.error("settle failed", { request_id: settlement.id, error });
            if (Date.now() + pauseMs > giveUpAt) {
              log.error("settle given up; the sweeper returns the hold", { settlement });
              throw error;
            }
            await new Promise((resolve) => setTimeout(resolve, pauseMs));
          }
        }
      } finally {
        unsettled--;
      }
    },
    get unsettled() {
      return unsettled;
    },
  };
}
