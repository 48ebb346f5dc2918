import { sweepHolds } from "../ledger/sweep.ts";
import { type VerifyReport, verify } from "../ledger/verify.ts";
import type { Database } from "../platform/db.ts";
import { firstIdAt } from "../platform/ids.ts";
import { log } from "../platform/log.ts";
import { claimTurn } from "../platform/turns.ts";

const DAY_MS = 24 * 60 * 60_000;
const HOUR_MS = 60 * 60_000;
/** The lease of a running proof; when it ends, another process may begin one. */
const KEEP_MS = 5 * 60_000;

type Proof = { at: string; ok: boolean };

/**
 * Verifies the books when that is due: a day after the last proof, which any process may have made.
 * One of all processes does it. First returns holds that a sweep passed over, such as those of a server
 * whose clock was far behind. Logs the report and returns it; null when no proof was due.
 */
export async function proveWhenDue(
  db: Database,
  options: { longestRequestMs: number; prove?: typeof verify },
): Promise<VerifyReport | null> {
  const turn = await claimTurn<Proof>(db.sql, "proof", { keepMs: KEEP_MS, longestMs: DAY_MS });
  if (turn === null) return null;
  const since = performance.now();
  // Large books take longer than the lease. If renewing it fails, another process may verify too, which only reads.
  const alive = setInterval(() => void turn.keep(KEEP_MS).catch(() => {}), KEEP_MS / 3).unref();
  const prove = () => db.withoutTimeLimit((sql) => (options.prove ?? verify)(sql, { longestRequestMs: options.longestRequestMs }));
  try {
    let report = await prove();
    if (report.overdue !== null) {
      const after = firstIdAt(momentOf(report.overdue));
      // When a hold can't be returned, the report names it.
      const swept = await db
        .withoutTimeLimit((sql) => sweepHolds(sql, { after }))
        .catch((error: unknown) => {
          log.error("orphaned holds could not be returned", { error });
          return null;
        });
      if (swept !== 0) {
        if (swept !== null) log.warn("returned the credits of orphaned holds", { holds: swept });
        report = await prove();
      }
    }
    if (report.ok) log.info("the books are in order", { accounts: report.accounts, requests: report.usages });
    else log.error("the books are NOT in order", { discrepancies: report.discrepancies });
    clearInterval(alive);
    await turn.end(Math.max(HOUR_MS, DAY_MS - Math.round(performance.now() - since)), { at: turn.now.toISOString(), ok: report.ok });
    return report;
  } catch (error) {
    clearInterval(alive);
    await turn.end(HOUR_MS).catch(() => {});
    throw error;
  }
}

/** When an id was made, in milliseconds since 1970 (UUIDv7 begins with it). */
function momentOf(id: string): number {
  return Number.parseInt(id.replace("-", "").slice(0, 12), 16);
}
