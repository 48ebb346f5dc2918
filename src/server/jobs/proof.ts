import { sweepHolds } from "../ledger/sweep.ts";
import { type VerifyReport, verify } from "../ledger/verify.ts";
import type { Database } from "../platform/db.ts";
import { firstIdAt } from "../platform/ids.ts";
import { log } from "../platform/log.ts";
import { claimTurn } from "../platform/turns.ts";

const DAY_MS = 24 * 60 * 60_000;
const HOUR_MS = 60 * 60_000;
/** After this long without a sign of life another process may begin. */
const KEEP_MS = 5 * 60_000;

type Proof = { at: string; ok: boolean };

/**
 * Proves the books when that is due, which is a day after the last proof, whichever
 * process made it; one of all processes does, however many look. Holds that a sweep
 * passed over, such as those of a server whose clock was far behind, are returned
 * first. Logs the outcome and returns it; null when there was nothing to do.
 */
export async function proveWhenDue(
  db: Database,
  options: { longestRequestMs: number; prove?: typeof verify },
): Promise<VerifyReport | null> {
  const turn = await claimTurn<Proof>(db.sql, "proof", { keepMs: KEEP_MS, longestMs: DAY_MS });
  if (turn === null) return null;
  const since = performance.now();
  // Large books take longer. When the database does not hear it, another process proves them as well, and does no harm.
  const alive = setInterval(() => void turn.keep(KEEP_MS).catch(() => {}), KEEP_MS / 3).unref();
  const prove = () => db.unhurried((sql) => (options.prove ?? verify)(sql, { longestRequestMs: options.longestRequestMs }));
  try {
    let report = await prove();
    if (report.overdue !== null) {
      const after = firstIdAt(momentOf(report.overdue));
      // One that can't be returned is a fault of the books, which the report names.
      const swept = await db
        .unhurried((sql) => sweepHolds(sql, { after }))
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

/** When an id was made: UUIDv7 begins with the time in milliseconds. */
function momentOf(id: string): number {
  return Number.parseInt(id.replace("-", "").slice(0, 12), 16);
}
