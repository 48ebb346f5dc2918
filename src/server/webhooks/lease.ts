import { plainArray, type Row, type Sql } from "../platform/sql.ts";

/**
 * Leases on deliveries: until a courier's lease ends, no other courier takes the delivery. A lease is in the
 * delivery's own row, its token in `job_id` and its end in `leased_until`, by the database's clock. A write
 * with the token of a lease that was lost changes nothing.
 */

/** A leased delivery with its endpoint and its event, as an attempt needs it. */
export type DueDelivery = {
  deliveryId: string;
  /** The token of the courier's lease. */
  lease: string;
  attempts: number;
  endpointId: string;
  url: string;
  wasFailing: boolean;
  /** The endpoint is disabled: it was when the delivery was read. */
  disabled: boolean;
  /** Its receiver asked for a pause (Retry-After) that has not ended. */
  quiet: boolean;
  secret: Uint8Array;
  formerSecret: Uint8Array | null;
  formerSecretUntil: Date | null;
  event: { id: string; type: string; createdAt: Date; data: unknown };
};

export type TakeOptions = {
  /** The token of the leases: new for each call. */
  lease: string;
  leaseMs: number;
  /** Deliveries in all. */
  most: number;
  /** Deliveries of an endpoint that is not in `room`. */
  mostOfOne: number;
  /** How many more deliveries of an endpoint may be leased, by its id. */
  room: ReadonlyMap<string, number>;
};

/**
 * Leases deliveries that are due, those of the endpoint that has waited longest first. Deliveries to an
 * endpoint that is paused (Retry-After) are not leased.
 */
export async function takeDue(sql: Sql, { lease, leaseMs, most, mostOfOne, room }: TakeOptions): Promise<DueDelivery[]> {
  const rows = await sql.query(takeStatement, [
    lease,
    leaseMs,
    most,
    mostOfOne,
    plainArray([...room.keys()]),
    plainArray([...room.values()]),
    new Date().toISOString(),
  ]);
  return rows.map(dueOf);
}

/** The delivery as it is now; null when another courier has leased it, or it was failed or retried by hand. */
export async function reread(sql: Sql, { deliveryId, lease }: DueDelivery): Promise<DueDelivery | null> {
  const [row] = await sql.query(rereadStatement, [deliveryId, lease]);
  return row === undefined ? null : dueOf(row);
}

/** Ends leases, so that any courier can take these deliveries at once. */
export async function releaseLeases(sql: Sql, due: readonly DueDelivery[]): Promise<void> {
  if (due.length > 0) await sql.query(releaseStatement, idsAndLeases(due));
}

/** Fails those whose endpoint is disabled: deliveries that were made at the same time, which `failPending` did not see. */
export async function failDisabled(sql: Sql, due: readonly DueDelivery[]): Promise<void> {
  if (due.length > 0) await sql.query(failStatement, idsAndLeases(due));
}

/** Ends every lease: for the start of a process that alone uses its database. */
export async function endAllLeases(sql: Sql): Promise<void> {
  await sql.query(endAllStatement, []);
}

function idsAndLeases(due: readonly DueDelivery[]): string[] {
  return [plainArray(due.map(({ deliveryId }) => deliveryId)), plainArray(due.map(({ lease }) => lease))];
}

function dueOf(row: Row): DueDelivery {
  return {
    deliveryId: String(row.id),
    lease: String(row.job_id),
    attempts: Number(row.attempts),
    endpointId: String(row.endpoint_id),
    url: String(row.url),
    wasFailing: row.failing_since !== null,
    disabled: row.disabled === true,
    quiet: row.quiet === true,
    secret: row.secret as Uint8Array,
    formerSecret: row.former_secret as Uint8Array | null,
    formerSecretUntil: row.former_secret_until === null ? null : new Date(row.former_secret_until as string | Date),
    event: {
      id: String(row.event_id),
      type: String(row.type),
      createdAt: new Date(row.created_at as string | Date),
      data: typeof row.data === "string" ? JSON.parse(row.data) : row.data,
    },
  };
}

// Servers of the version before make a pg-boss job for each delivery: they set job_id and not leased_until.
// Such a delivery can be leased five minutes after it was due, which is longer than a job may run with the
// usual time limit. The job then finds another job_id and sends nothing.
const unleased = "(d.job_id IS NULL OR coalesce(d.leased_until, d.next_attempt_at + interval '5 minutes') <= now())";

const columns = `
  d.id, d.job_id, d.attempts, d.endpoint_id, e.url, e.failing_since, e.disabled_at IS NOT NULL AS disabled,
  coalesce(e.quiet_until > now(), false) AS quiet, e.secret, e.former_secret, e.former_secret_until,
  o.id AS event_id, o.type, o.created_at, o.data`;
const joined = `
  JOIN LATERAL (SELECT * FROM webhook_endpoint e WHERE e.id = d.endpoint_id OFFSET 0) e ON true
  JOIN LATERAL (SELECT * FROM outbox_event o WHERE o.id = d.event_id OFFSET 0) o ON true`;

// `waiting` goes from endpoint to endpoint along webhook_delivery_due_idx, one step for each that has
// a pending delivery, so a backlog of one endpoint does not slow the others down. next_attempt_at is written by
// the clock of a server process after a failure, and else by the database's, so a delivery is due by either.
const takeStatement = {
  name: "webhooks_take",
  text: `
    WITH RECURSIVE waiting AS (
      (SELECT d.endpoint_id, d.next_attempt_at FROM webhook_delivery d WHERE d.status = 'pending'
       ORDER BY d.endpoint_id, d.next_attempt_at LIMIT 1)
      UNION ALL
      SELECT n.endpoint_id, n.next_attempt_at FROM waiting w CROSS JOIN LATERAL (
        SELECT d.endpoint_id, d.next_attempt_at FROM webhook_delivery d WHERE d.status = 'pending' AND d.endpoint_id > w.endpoint_id
        ORDER BY d.endpoint_id, d.next_attempt_at LIMIT 1) n),
    open AS MATERIALIZED (
      SELECT w.endpoint_id, coalesce(b.room, $4::int) AS room
      FROM waiting w
      JOIN LATERAL (SELECT e.quiet_until FROM webhook_endpoint e WHERE e.id = w.endpoint_id OFFSET 0) e ON coalesce(e.quiet_until <= now(), true)
      LEFT JOIN unnest($5::uuid[], $6::int[]) b(endpoint_id, room) ON b.endpoint_id = w.endpoint_id
      WHERE w.next_attempt_at <= greatest(now(), $7::timestamptz)
      ORDER BY w.next_attempt_at),
    chosen AS MATERIALIZED (
      SELECT c.id FROM open CROSS JOIN LATERAL (
        SELECT d.id FROM webhook_delivery d
        WHERE d.endpoint_id = open.endpoint_id AND d.status = 'pending' AND d.next_attempt_at <= greatest(now(), $7::timestamptz) AND ${unleased}
        ORDER BY d.next_attempt_at LIMIT open.room FOR NO KEY UPDATE SKIP LOCKED) c
      LIMIT $3::int),
    d AS (
      UPDATE webhook_delivery d SET job_id = $1::uuid, leased_until = now() + $2::int * interval '1 millisecond'
      WHERE d.id = ANY (ARRAY(SELECT id FROM chosen)) RETURNING d.*)
    SELECT ${columns} FROM d ${joined}`,
};

const rereadStatement = {
  name: "webhooks_reread",
  text: `
    SELECT ${columns} FROM webhook_delivery d ${joined}
    WHERE d.id = $1::uuid AND d.job_id = $2::uuid AND d.status = 'pending'`,
};

// Rows that another transaction has locked are skipped: it changes them, or their lease expires.
const leasedRows = `
  SELECT d.id FROM webhook_delivery d JOIN unnest($1::uuid[], $2::uuid[]) l(id, lease) ON l.id = d.id AND l.lease = d.job_id
  WHERE d.status = 'pending' FOR NO KEY UPDATE OF d SKIP LOCKED`;

const releaseStatement = {
  name: "webhooks_release",
  text: `UPDATE webhook_delivery SET job_id = NULL, leased_until = NULL WHERE id IN (${leasedRows})`,
};

const failStatement = {
  name: "webhooks_fail_disabled",
  text: `
    UPDATE webhook_delivery d SET status = 'failed', next_attempt_at = NULL, job_id = NULL, leased_until = NULL,
      last_error = 'the endpoint was disabled', updated_at = now()
    FROM webhook_endpoint e WHERE e.id = d.endpoint_id AND e.disabled_at IS NOT NULL AND d.id IN (${leasedRows})`,
};

const endAllStatement = {
  name: "webhooks_end_all_leases",
  text: `UPDATE webhook_delivery SET job_id = NULL, leased_until = NULL WHERE status = 'pending' AND job_id IS NOT NULL`,
};
