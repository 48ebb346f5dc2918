import { type Database, transaction } from "../platform/db.ts";
import { plainArray, type Sql } from "../platform/sql.ts";
import type { Queue } from "./queue.ts";

/** What is to be sent, and to whom: a delivery with its endpoint and its event. */
export type Due = {
  deliveryId: string;
  attempts: number;
  endpointId: string;
  url: string;
  wasFailing: boolean;
  quietUntil: Date | null;
  secret: Uint8Array;
  formerSecret: Uint8Array | null;
  formerSecretUntil: Date | null;
  event: { id: string; type: string; createdAt: Date; data: unknown };
};

/** What is to be sent for these jobs, by job; those that something has overtaken are not in it. */
export async function dueFor(sql: Sql, jobs: readonly { id: string; deliveryId: string }[]): Promise<Map<string, Due>> {
  const rows = await sql.query(dueStatement, [plainArray(jobs.map(({ id }) => id)), plainArray(jobs.map(({ deliveryId }) => deliveryId))]);
  return new Map(
    rows.map((row) => [
      String(row.job_id),
      {
        deliveryId: String(row.id),
        attempts: Number(row.attempts),
        endpointId: String(row.endpoint_id),
        url: String(row.url),
        wasFailing: row.failing_since !== null,
        quietUntil: row.quiet_until === null ? null : new Date(row.quiet_until as string | Date),
        secret: row.secret as Uint8Array,
        formerSecret: row.former_secret as Uint8Array | null,
        formerSecretUntil: row.former_secret_until === null ? null : new Date(row.former_secret_until as string | Date),
        event: {
          id: String(row.event_id),
          type: String(row.type),
          createdAt: new Date(row.created_at as string | Date),
          data: typeof row.data === "string" ? JSON.parse(row.data) : row.data,
        },
      },
    ]),
  );
}

/** Ends jobs that a retry by hand, or the end of the endpoint, has overtaken. */
export async function endOvertaken(sql: Sql, queue: Queue, jobs: readonly { id: string; deliveryId: string }[]): Promise<void> {
  await sql.query(overtakenStatement, [plainArray(jobs.map(({ id }) => id)), plainArray(jobs.map(({ deliveryId }) => deliveryId))]);
  await queue.end(jobs.map(({ id }) => id));
}

/** Its receiver asked to be left alone for a while. */
export function isQuiet({ quietUntil }: Due, now: number): boolean {
  return quietUntil !== null && quietUntil.getTime() > now;
}

/** Lets deliveries wait until their receiver wants to hear again; that counts as no attempt. */
export async function putOff(db: Database, queue: Queue, early: readonly [job: string, due: Due][]): Promise<void> {
  const jobs = early.map(([job]) => job);
  await transaction(async (tx) => {
    await tx.query(putOffStatement, [plainArray(jobs), plainArray(early.map(([, { deliveryId }]) => deliveryId))]);
    await queue.end(jobs, tx);
  }, db);
}

const dueStatement = {
  name: "webhooks_due",
  text: `
    SELECT d.id, d.job_id, d.attempts, d.endpoint_id, e.url, e.failing_since, e.quiet_until, e.secret, e.former_secret, e.former_secret_until,
      o.id AS event_id, o.type, o.created_at, o.data
    FROM webhook_delivery d
    JOIN LATERAL (SELECT * FROM webhook_endpoint e WHERE e.id = d.endpoint_id AND e.disabled_at IS NULL OFFSET 0) e ON true
    JOIN LATERAL (SELECT * FROM outbox_event o WHERE o.id = d.event_id OFFSET 0) o ON true
    WHERE d.id = ANY ($2::uuid[]) AND d.job_id = ANY ($1::uuid[]) AND d.status = 'pending'`,
};

// An endpoint may be disabled at the very moment that something is made for it.
const overtakenStatement = {
  name: "webhooks_overtaken",
  text: `
    UPDATE webhook_delivery d SET status = 'failed', next_attempt_at = NULL, job_id = NULL, last_error = 'the endpoint was disabled', updated_at = now()
    FROM webhook_endpoint e
    WHERE d.id = ANY ($2::uuid[]) AND d.job_id = ANY ($1::uuid[]) AND d.status = 'pending' AND e.id = d.endpoint_id AND e.disabled_at IS NOT NULL`,
};

const putOffStatement = {
  name: "webhooks_put_off",
  text: `
    UPDATE webhook_delivery d SET next_attempt_at = coalesce(e.quiet_until, now()), job_id = NULL, updated_at = now()
    FROM webhook_endpoint e
    WHERE d.id = ANY ($2::uuid[]) AND d.job_id = ANY ($1::uuid[]) AND d.status = 'pending' AND e.id = d.endpoint_id`,
};
