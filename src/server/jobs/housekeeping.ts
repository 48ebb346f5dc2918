import { writeUses } from "../apps/last-used.ts";
import { finishDeletedApps } from "../connect/delete-app.ts";
import { endLinksWithoutGrant } from "../connect/disconnect.ts";
import { purgeOAuth } from "../connect/grants.ts";
import { purgeIdempotency } from "../http/idempotency.ts";
import { foldDeltas } from "../ledger/accounts.ts";
import { KeptSettlements } from "../ledger/kept.ts";
import { preparePartitions } from "../ledger/partitions.ts";
import { sweepOrphans } from "../ledger/sweep.ts";
import { purgeExpired } from "../people/sign-up.ts";
import type { Database } from "../platform/db.ts";
import { log } from "../platform/log.ts";
import { foldUsage } from "../usage/rollup.ts";
import { purgeDeliveries } from "../webhooks/deliveries.ts";
import { proveWhenDue } from "./proof.ts";
import { Schedule } from "./schedule.ts";

/** Slices of usage in one round, so that a database with years to fold does not delay sweeping. */
const FOLDS_A_ROUND = 200;

/**
 * Periodic work of every server process: enters settlements that were kept on disk, sweeps
 * orphaned holds, folds account deltas and usage, stores when keys were used, ends links of deleted
 * apps and of apps whose tokens have ended, deletes expired rows, and verifies the books once a day.
 * Each job is safe in several processes at once; sweeping and verifying are done by one of them.
 */
export function startHousekeeping(db: Database, options: { longestRequestMs: number }): { stop(): Promise<void> } {
  const jobs = new Schedule();
  // A schedule of its own, because it reads the whole ledger and would delay the other jobs.
  const proof = new Schedule();

  const kept = new KeptSettlements();
  const enterKept = async () => {
    const { entered } = await kept.enter(db.sql);
    if (entered > 0) log.warn("entered settlements that were kept on disk", { settlements: entered });
  };
  // Before the first sweep. main.ts enters them when the command starts, and not when a process is replaced.
  jobs.soon("enter kept settlements", enterKept);
  jobs.every(5_000, "enter kept settlements", enterKept);
  jobs.every(10_000, "sweep holds", async () => {
    const swept = await sweepOrphans(db.sql);
    if (swept > 0) log.warn("returned the credits of orphaned holds", { holds: swept });
  });
  jobs.every(5_000, "fold accounts", () => foldDeltas(db.sql));
  jobs.every(20_000, "write down when keys were used", () => writeUses(db.sql));
  jobs.every(600_000, "end the links of deleted apps", () => finishDeletedApps(db));
  jobs.every(30_000, "fold usage", (signal) => foldUsage(db, { slices: FOLDS_A_ROUND, signal }));
  jobs.every(3_600_000, "prepare partitions", () => preparePartitions(db.sql));
  jobs.every(3_600_000, "purge idempotency keys", purgeIdempotency);
  jobs.every(3_600_000, "purge OAuth records", () => purgeOAuth(db));
  jobs.every(30_000, "end connections without a grant", () => endLinksWithoutGrant(db));
  jobs.every(3_600_000, "forget sign-ups and resets that are over", () => purgeExpired());
  jobs.every(3_600_000, "forget old deliveries and events", () => purgeDeliveries());
  // Checked every minute, because a server may not run for long; done once a day.
  proof.every(60_000, "verify the books", () => proveWhenDue(db, options));

  // After months without a server there is no partition for today.
  jobs.soon("prepare partitions", () => preparePartitions(db.sql));

  return {
    async stop() {
      // Not awaited: it only reads, may take minutes, and ends with the process.
      void proof.stop();
      await jobs.stop();
      await writeUses(db.sql).catch((error: unknown) => log.error("write down when keys were used failed", { error }));
    },
  };
}
