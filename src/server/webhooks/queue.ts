import { fromPglite, fromPrisma, PgBoss } from "pg-boss";
import type { Database, Tx } from "../platform/db.ts";
import { log } from "../platform/log.ts";

/**
 * The queue of deliveries, kept by pg-boss in the database that the deliveries are in.
 * A job is an alarm clock and a lease: it comes due, one process takes it, and should
 * that process die the job comes back. What is to be done stands in the delivery.
 */
export type Job = { id: string; deliveryId: string; endpointId: string; dueAt: Date };

export type Queue = {
  /** Adds jobs in a transaction. */
  add(tx: Tx, jobs: readonly Job[]): Promise<void>;
  /** Takes what is due, at most so many of one endpoint in all processes together. */
  take(most: number, mostOfOneEndpoint: number): Promise<{ id: string; deliveryId: string }[]>;
  /** Ends jobs that were taken, in the transaction that writes down how they went. */
  end(jobIds: readonly string[], tx?: Tx): Promise<void>;
  /** Lets somebody else have jobs that were taken, at once. */
  giveBack(jobIds: readonly string[]): Promise<void>;
  stop(): Promise<void>;
};

const NAME = "webhook-delivery";

/** `leaseSeconds`: after this long a job that somebody took and did not end is given to somebody else. */
export async function openQueue(db: Database, options: { leaseSeconds: number }): Promise<Queue> {
  const boss = new PgBoss({
    ...("pglite" in db.jobStore
      ? { db: fromPglite(db.jobStore.pglite), backend: "pglite" as const }
      : { ...db.jobStore.pool, application_name: "quota jobs" }),
    // Nothing here is due at a time of day.
    schedule: false,
    superviseIntervalSeconds: Math.min(options.leaseSeconds, 20),
    monitorIntervalSeconds: Math.min(options.leaseSeconds, 20),
  });
  // The database may be away for a while; every verb is asked again later.
  boss.on("error", (error) => log.warn("the queue of deliveries had an error", { error }));
  boss.on("warning", () => {});
  await boss.start();
  // Attempts are counted by the delivery; here only processes that died are.
  const settings = { expireInSeconds: options.leaseSeconds, retryLimit: 10_000, retryDelay: 0 };
  await boss.createQueue(NAME, settings);
  // One that is there already may have been made with another lease.
  await boss.updateQueue(NAME, settings);
  // Reads the queue's settings now: within a transaction of ours, which the embedded
  // database lets nobody else into, it would wait for itself.
  await boss.deleteJob(NAME, "00000000-0000-0000-0000-000000000000");
  if ("pglite" in db.jobStore) {
    // This process is the database's only user, so what is taken was taken by one that died.
    const { rows } = await boss.getDb().executeSql(`SELECT id FROM pgboss.job WHERE name = $1 AND state = 'active'`, [NAME]);
    await giveBack(rows.map((row: { id: string }) => row.id));
  }

  async function giveBack(jobIds: readonly string[]): Promise<void> {
    // They are retried without delay.
    if (jobIds.length > 0) await boss.fail(NAME, [...jobIds]);
  }

  return {
    giveBack,
    async add(tx, jobs) {
      await boss.insert(
        NAME,
        jobs.map((job) => ({
          id: job.id,
          data: { delivery: job.deliveryId },
          group: { id: job.endpointId },
          ...(job.dueAt.getTime() <= Date.now() ? {} : { startAfter: job.dueAt }),
        })),
        { db: fromPrisma(tx.prisma) },
      );
    },
    async take(most, mostOfOneEndpoint) {
      const jobs = await boss.fetch<{ delivery: string }>(NAME, { batchSize: most, groupConcurrency: mostOfOneEndpoint });
      return jobs.map(({ id, data }) => ({ id, deliveryId: data.delivery }));
    },
    async end(jobIds, tx) {
      if (jobIds.length > 0) await boss.deleteJob(NAME, [...jobIds], tx === undefined ? {} : { db: fromPrisma(tx.prisma) });
    },
    stop: () => boss.stop({ graceful: false, close: true }),
  };
}
