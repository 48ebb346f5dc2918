import type { Database } from "../platform/db.ts";
import { database, type Tx, transaction } from "../platform/db.ts";
import { log } from "../platform/log.ts";
import { processWide } from "../platform/process-wide.ts";
import type { Sql } from "../platform/sql.ts";
import { Batcher } from "./batcher.ts";
import { AccountLockedError, Contended, isLockTimeout } from "./contended.ts";
import {
  type Growth,
  type GrowthVerdict,
  grow,
  type HoldRequest,
  type HoldVerdict,
  type Locked,
  post,
  type Settlement,
  type SettleVerdict,
} from "./hold.ts";
import { KeptSettlements, resolutionOf } from "./kept.ts";
import { limitStanding, recountLimit, refillLimit } from "./limits.ts";

/** What the gateway uses of the ledger. Holds and settlements of all requests of this process go in batches of both. */
export type Ledger = {
  /**
   * Decides one request; see `hold` of hold.ts. Throws QueueFullError, and AccountLockedError
   * when another session keeps the payer's wallet or limit locked: after either nothing was
   * reserved.
   */
  hold(request: HoldRequest): Promise<Exclude<HoldVerdict, { kind: "limit_due" }>>;
  /**
   * Settles one hold, and repeats that while the database is unreachable, because the provider
   * has been paid. Throws after `lifetimeMs`, when the hold has expired and the sweeper returns
   * its credits.
   */
  settle(settlement: Settlement, lifetimeMs: number): Promise<Settled>;
  /**
   * Settles like `settle`, for an answer that names its price. When the commit takes longer
   * than `patienceMs`, the settlement is written to disk; the result is null when it is there,
   * and this process or another one enters it later. When it can't be written, the answer waits
   * for the database until the hold expires.
   */
  settleOrKeep(settlement: Settlement, options: { lifetimeMs: number; patienceMs: number }): Promise<Settled | null>;
  /**
   * Adds to an open hold; see `grow` of hold.ts. `linkedUserId`: the link that pays, whose limit
   * is refilled when its month is over. Throws QueueFullError and AccountLockedError like `hold`;
   * after any other error the same growth may be repeated.
   */
  grow(growth: Growth, linkedUserId: string | null): Promise<Exclude<GrowthVerdict, { kind: "limit_due" }>>;
  /** Settlements that are neither committed nor kept on disk yet. */
  readonly unsettled: number;
};

/** What became of a settlement. `balanceAfter` is null when it was committed by an attempt whose answer was lost. */
export type Settled =
  | (Omit<Extract<SettleVerdict, { kind: "settled" }>, "balanceAfter"> & { balanceAfter: bigint | null })
  | Exclude<SettleVerdict, { kind: "settled" }>;

/** The ledger that `ledger()` returns: its first call opens one when none is set. */
export const theLedger = processWide("ledger", (): { opened?: Promise<Ledger> | undefined } => ({}));

export function ledger(): Promise<Ledger> {
  theLedger.opened ??= database().then((db) => openLedger(db));
  return theLedger.opened;
}

export function openLedger(db: Database, onDisk = new KeptSettlements()): Ledger {
  // One batch and one commit for holds and settlements. It waits for no lock: items whose account is locked go to
  // `contended`, whose connections wait.
  const lane = db.lane();
  const batcher = new Batcher<Posting, HoldVerdict | SettleVerdict | Locked>((postings) => postAll(lane, postings, { skipLocked: true }));
  const growths = new Batcher<Growth, GrowthVerdict | Locked>((batch) => grow(lane, batch, { skipLocked: true }));
  let waitingLane: Sql | undefined;
  const contended = new Contended<Posting, HoldVerdict | SettleVerdict>(
    (postings) => {
      waitingLane ??= db.lane({ connections: WAITING_LANES });
      return postAll(waitingLane, postings, { skipLocked: false }) as Promise<(HoldVerdict | SettleVerdict)[]>;
    },
    { lanes: WAITING_LANES },
  );
  const pending = new Set<Settlement>();

  async function decide(posting: Posting, options?: { always: boolean }): Promise<HoldVerdict | SettleVerdict> {
    const verdict = await batcher.push(posting, options);
    return verdict.kind === "locked" ? contended.push(verdict.accountId, posting) : verdict;
  }

  const limits = openLimits(db);

  return {
    async hold(request) {
      let recounted = false;
      for (let refills = 0; ; ) {
        const verdict = (await decide({ kind: "hold", request })) as HoldVerdict;
        if (verdict.kind === "limit_due") {
          // One refill is enough, or two when a month ends between them.
          if (++refills > MOST_REFILLS) throw new Error(`the limit of linked user ${verdict.linkedUserId} could not be refilled`);
          await limits.refill(verdict.linkedUserId);
          continue;
        }
        if (recounted || verdict.kind !== "refused" || !isAboutLimit(verdict.reason) || !verdict.payer?.limitId) return verdict;
        const { linkedUserId } = verdict.payer;
        if (linkedUserId === null || !(await limits.leavesMore(linkedUserId, verdict.needed ?? 0n))) return verdict;
        recounted = true;
      }
    },
    async settle(settlement, lifetimeMs) {
      const giveUpAt = performance.now() + lifetimeMs;
      pending.add(settlement);
      try {
        for (let pauseMs = 50; ; pauseMs = Math.min(pauseMs * 2, 5_000)) {
          try {
            // `always`: what was delivered is billed, however many items wait.
            const verdict = (await decide({ kind: "settle", settlement }, { always: true })) as SettleVerdict;
            return verdict.kind === "already_resolved" ? await resolvedBefore(lane, settlement) : verdict;
          } catch (error) {
            // Settling is idempotent, so it is repeated when its outcome is unknown. `contended` has logged a locked account.
            if (!(error instanceof AccountLockedError)) log.error("settle failed", { request_id: settlement.id, error });
            if (performance.now() + pauseMs > giveUpAt) {
              log.error("settle given up; the sweeper returns the hold", { settlement });
              throw error;
            }
            await new Promise((resolve) => setTimeout(resolve, pauseMs));
          }
        }
      } finally {
        pending.delete(settlement);
      }
    },
    async settleOrKeep(settlement, { lifetimeMs, patienceMs }) {
      const settling = this.settle(settlement, lifetimeMs);
      const inTime = await within(patienceMs, settling);
      if (inTime !== null) return inTime;
      const copy = onDisk.keep(settlement).catch((error: unknown) => {
        log.error("a settlement could not be kept on disk; its answer waits for the database", { request_id: settlement.id, error });
        return null;
      });
      const committed = settling.catch(() => null);
      void committed.then(async (verdict) => (verdict === null ? undefined : (await copy)?.forget()));
      const first = await Promise.race([committed, copy.then((kept) => (kept === null ? committed : null))]);
      if (first !== null) return first;
      if ((await copy) === null) return settling;
      pending.delete(settlement);
      return null;
    },
    async grow(growth, linkedUserId) {
      const giveUpAt = performance.now() + GROW_PATIENCE_MS;
      let recounted = false;
      for (let pauseMs = 10; ; pauseMs = Math.min(pauseMs * 2, 250)) {
        const verdict = await growths.push(growth);
        if (verdict.kind === "refused" && !recounted && linkedUserId !== null && isAboutLimit(verdict.reason)) {
          recounted = true;
          if (await limits.leavesMore(linkedUserId, growth.minimum)) continue;
        }
        if (verdict.kind !== "locked" && verdict.kind !== "limit_due") return verdict;
        if (performance.now() + pauseMs > giveUpAt) {
          if (verdict.kind === "locked") throw new AccountLockedError(verdict.accountId);
          throw new Error(`the limit of linked user ${linkedUserId} could not be refilled`);
        }
        if (verdict.kind === "limit_due" && linkedUserId !== null) await limits.refill(linkedUserId);
        else await new Promise((resolve) => setTimeout(resolve, pauseMs));
      }
    },
    get unsettled() {
      return pending.size;
    },
  };
}

/** Whether a recount of the limit may lift the refusal: holds that it counted may have been settled since. */
function isAboutLimit(reason: string): boolean {
  return reason === "spending_limit_reached" || reason === "credits_on_hold";
}

/**
 * Refills and recounts of limits that requests find due. A process counts each limit once at a time, and concurrent
 * requests await the same count. Lock waits are bounded: otherwise the requests of one wallet that another session has
 * locked could take all connections.
 */
function openLimits(db: Database) {
  const running = new Map<string, Promise<void>>();

  function once(linkedUserId: string, count: (tx: Tx, linkedUserId: string) => Promise<void>): Promise<void> {
    let counting = running.get(linkedUserId);
    if (counting === undefined) {
      counting = transaction(async (tx) => {
        await tx.query(waitShortlyStatement, []);
        await count(tx, linkedUserId);
      }, db).finally(() => running.delete(linkedUserId));
      running.set(linkedUserId, counting);
    }
    return counting;
  }

  return {
    /** Fills a limit whose month is over, by the database's clock. Throws AccountLockedError. */
    async refill(linkedUserId: string): Promise<void> {
      try {
        await once(linkedUserId, refillLimit);
      } catch (error) {
        throw isLockTimeout(error) ? new AccountLockedError(`of the limit of linked user ${linkedUserId}`, { cause: error }) : error;
      }
    },
    /** Recounts a limit when that is due. True when it may leave the credits that a refused request needs, which then is repeated. */
    async leavesMore(linkedUserId: string, needed: bigint): Promise<boolean> {
      for (let turn = 0; turn < 2; turn++) {
        const standing = await limitStanding(db.sql, linkedUserId);
        if (standing === null || !standing.isDue) return standing !== null && standing.available >= needed;
        try {
          await once(linkedUserId, recountLimit);
        } catch (error) {
          // The account is locked, so the limit can't be recounted, and the refusal stands.
          if (!isLockTimeout(error)) throw error;
          return false;
        }
      }
      return true;
    },
  };
}

const waitShortlyStatement = { name: "ledger_wait_shortly", text: `SELECT set_config('lock_timeout', '2000', true)` };

/** Connections that wait for locks; opened when first needed. */
const WAITING_LANES = 2;
/** How long a growth waits for an account that another session has locked. */
const GROW_PATIENCE_MS = 2_000;

/** Refills of a limit for one request, before it fails: a limit that stays due must not keep a request for ever. */
const MOST_REFILLS = 3;

/** The outcome, or null when it takes longer. */
function within<T>(ms: number, outcome: Promise<T>): Promise<T | null> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => resolve(null), ms);
    outcome.then(
      (value) => {
        clearTimeout(timer);
        resolve(value);
      },
      (error: unknown) => {
        clearTimeout(timer);
        reject(error);
      },
    );
  });
}

/** `settled` when an earlier attempt was committed and its answer lost, `already_resolved` when the sweeper released the hold. */
async function resolvedBefore(sql: Sql, settlement: Settlement): Promise<Settled> {
  const resolution = await resolutionOf(sql, settlement.id);
  if (resolution === null || resolution.outcome !== settlement.outcome) return { kind: "already_resolved" };
  return { kind: "settled", charged: resolution.charged, balanceAfter: null };
}

type Posting = { kind: "hold"; request: HoldRequest } | { kind: "settle"; settlement: Settlement };

/** Answers in the order of the postings. */
async function postAll(
  lane: Sql,
  postings: readonly Posting[],
  options: { skipLocked: boolean },
): Promise<(HoldVerdict | SettleVerdict | Locked)[]> {
  const settlements = postings.flatMap((each) => (each.kind === "settle" ? each.settlement : []));
  const requests = postings.flatMap((each) => (each.kind === "hold" ? each.request : []));
  const answers = await post(lane, settlements, requests, options);
  const [settled, held] = [answers.settlements.values(), answers.holds.values()];
  return postings.map(({ kind }) => (kind === "settle" ? settled : held).next().value as HoldVerdict | SettleVerdict | Locked);
}
