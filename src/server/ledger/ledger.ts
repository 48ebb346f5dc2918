import type { Database } from "../platform/db.ts";
import { database, transaction } from "../platform/db.ts";
import { log } from "../platform/log.ts";
import { type Sql, toBigInt } from "../platform/sql.ts";
import { Batcher } from "./batcher.ts";
import { type HoldRequest, type HoldVerdict, post, type Settlement, type SettleVerdict } from "./hold.ts";
import { refillLimit } from "./limits.ts";

/**
 * The ledger as the gateway sees it: holds and settlements from all requests of this
 * process, in batches of both.
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
  // Both kinds in one batch, one commit for all of it.
  const lane = db.lane();
  const batcher = new Batcher<Posting, HoldVerdict | SettleVerdict>((postings) => postAll(lane, postings));
  let unsettled = 0;

  return {
    async hold(request) {
      for (;;) {
        const verdict = (await batcher.push({ kind: "hold", request })) as HoldVerdict;
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
            // Never refuse to write down what was delivered.
            return (await batcher.push({ kind: "settle", settlement }, { always: true })) as SettleVerdict;
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

type Posting = { kind: "hold"; request: HoldRequest } | { kind: "settle"; settlement: Settlement };

/** Answers in the order of the postings. */
async function postAll(lane: Sql, postings: readonly Posting[]): Promise<(HoldVerdict | SettleVerdict)[]> {
  const settlements = postings.flatMap((each) => (each.kind === "settle" ? each.settlement : []));
  const requests = postings.flatMap((each) => (each.kind === "hold" ? each.request : []));
  const answers = await post(lane, settlements, requests);
  const [settled, held] = [answers.settlements.values(), answers.holds.values()];
  return postings.map(({ kind }) => (kind === "settle" ? settled : held).next().value as HoldVerdict | SettleVerdict);
}
