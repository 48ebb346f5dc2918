import { writeUses } from "../apps/last-used.ts";
import { finishDeletedApps } from "../connect/delete-app.ts";
import { endBereftLinks } from "../connect/disconnect.ts";
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

/** Slices of usage that one round folds, so that a database with years to fold still has its holds swept. */
const FOLDS_A_ROUND = 200;

/**
 * What has to be done every now and then, by every server process: entering settlements
 * that were kept on disk, returning the
 * credits of orphaned holds, folding summed accounts and usage, writing down when keys
 * were used, ending the links of deleted apps and of apps whose tokens are over, forgetting old idempotency keys, sign-ups,
 * resets, deliveries and what the authorization server no longer needs, and once
 * a day proving the books. Each is safe to run in several processes at once; sweeping and
 * proving are done by one of them.
 */
export function startHousekeeping(db: Database, options: { longestRequestMs: number }): { stop(): Promise<void> } {
  const chores = new Schedule();
  // It reads everything, and nothing else waits for it.
  const proof = new Schedule();

  const kept = new KeptSettlements();
  const enterKept = async () => {
    const { entered } = await kept.enter(db.sql);
    if (entered > 0) log.warn("entered settlements that were kept on disk", { settlements: entered });
  };
  // Before the sweep, and after the start, because a server process that is replaced has no start of its own.
  chores.soon("enter kept settlements", enterKept);
  chores.every(5_000, "enter kept settlements", enterKept);
  chores.every(10_000, "sweep holds", async () => {
    const swept = await sweepOrphans(db.sql);
    if (swept > 0) log.warn("returned the credits of orphaned holds", { holds: swept });
  });
  chores.every(5_000, "fold accounts", () => foldDeltas(db.sql));
  chores.every(20_000, "write down when keys were used", () => writeUses(db.sql));
  chores.every(600_000, "end the links of deleted apps", () => finishDeletedApps(db));
  chores.every(30_000, "fold usage", (signal) => foldUsage(db, { slices: FOLDS_A_ROUND, signal }));
  chores.every(3_600_000, "prepare partitions", () => preparePartitions(db.sql));
  chores.every(3_600_000, "purge idempotency keys", purgeIdempotency);
  chores.every(3_600_000, "purge OAuth records", () => purgeOAuth(db));
  chores.every(30_000, "end connections without a grant", () => endBereftLinks(db));
  chores.every(3_600_000, "forget sign-ups and resets that are over", () => purgeExpired());
  chores.every(3_600_000, "forget old deliveries and events", () => purgeDeliveries());
  // Looked for often, because a server may not live for long; done once a day.
  proof.every(60_000, "verify the books", () => proveWhenDue(db, options));

  // A server that stood still for months has none for today.
  chores.soon("prepare partitions", () => preparePartitions(db.sql));

  return {
    async stop() {
      // The proof only reads, and may take minutes: it ends with the process.
      void proof.stop();
      await chores.stop();
      await writeUses(db.sql).catch((error: unknown) => log.error("write down when keys were used failed", { error }));
    },
  };
}
