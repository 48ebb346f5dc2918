import type { Prisma } from "../../generated/prisma/client.ts";
import { type Database, type Tx, transaction } from "../platform/db.ts";
import { newId } from "../platform/ids.ts";
import { log } from "../platform/log.ts";
import { plainArray, textArray } from "../platform/sql.ts";
import { failPending } from "./endpoints.ts";
import type { DueDelivery } from "./lease.ts";
import type { Attempt } from "./send.ts";

/** `failing`: five days without a success. `gone`: the receiver answered 410. */
export type DisabledEndpoint = { id: string; appId: string; url: string; reason: "failing" | "gone" };
/** With waits of 10 s, 30 s, 90 s … and at most 12 h, the last attempt is about 3 days after the first. */
export const MOST_ATTEMPTS = 14;
/** In first waits: with the usual 10 s, 12 hours. */
const LONGEST_WAIT = 4_320;
/** An endpoint without a success for this long after a failure is disabled. */
export const DISABLE_AFTER_MS = 5 * 24 * 60 * 60 * 1000;

/** The wait in milliseconds after so many failed attempts; null after the last one. A random fifth more or less, so that retries spread out. */
export function waitAfter(attempts: number, firstRetryMs: number, random: () => number = Math.random): number | null {
  if (attempts >= MOST_ATTEMPTS) return null;
  return Math.round(firstRetryMs * Math.min(3 ** (attempts - 1), LONGEST_WAIT) * (0.8 + 0.4 * random()));
}

/** Longer waits that a receiver asks for with Retry-After are shortened to this, the longest wait between attempts. */
export const LONGEST_RETRY_AFTER_MS = 12 * 60 * 60 * 1000;

export type AttemptResult = { due: DueDelivery; attempt: Attempt; startedAt: Date };

export type ResultWriterOptions = {
  db: Database;
  firstRetryMs: number;
  now(): number;
  random?: (() => number) | undefined;
  onDisabled(endpoint: DisabledEndpoint): void;
};

/** Records the results of attempts: when the next attempt is due, and which endpoints are disabled or paused. */
export class ResultWriter {
  readonly #options: ResultWriterOptions;
  #pending: AttemptResult[] = [];
  #writing: Promise<void> | undefined;

  constructor(options: ResultWriterOptions) {
    this.#options = options;
  }

  /** Resolves when the result is committed, and also after five failed transactions. */
  add(result: AttemptResult): Promise<void> {
    this.#pending.push(result);
    this.#writing ??= this.#writeAll();
    return this.#writing;
  }

  /** Results that arrive during a transaction are written together in the next one. */
  async #writeAll(): Promise<void> {
    // Waits for the results that arrive in the same turn of the event loop.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#pending.length > 0) {
      const results = this.#pending.splice(0, 128);
      let disabled: DisabledEndpoint[] = [];
      // After five failures the deliveries are leased again when their leases have expired, and sent once more.
      for (let tries = 1; ; tries++) {
        try {
          disabled = await transaction((tx) => this.#write(tx, results), this.#options.db);
          break;
        } catch (error) {
          if (tries === 5) {
            log.warn("deliveries could not be written down; they will be repeated", { deliveries: results.length, error });
            break;
          }
          await new Promise((resolve) => setTimeout(resolve, 100 * 2 ** tries));
        }
      }
      for (const endpoint of disabled) this.#options.onDisabled(endpoint);
    }
    // No await between the loop's condition and this, so no result can be added in between and left unwritten.
    this.#writing = undefined;
  }

  async #write(tx: Tx, results: readonly AttemptResult[]): Promise<DisabledEndpoint[]> {
    await lockEndpoints(tx, results);
    const now = this.#options.now();
    const next = results.map(({ due, attempt }) => {
      if (attempt.delivered || attempt.responseStatus === GONE) return null;
      const wait = waitAfter(due.attempts + 1, this.#options.firstRetryMs, this.#options.random);
      return wait === null ? null : new Date(now + Math.max(wait, retryAfterOf(attempt))).toISOString();
    });
    const counted = await tx.query(recordStatement, [
      plainArray(results.map(() => newId())),
      plainArray(results.map(({ due }) => due.deliveryId)),
      plainArray(results.map(({ due }) => due.lease)),
      plainArray(results.map(({ attempt }) => (attempt.delivered ? "t" : "f"))),
      textArray(next),
      textArray(results.map(({ due }) => due.url)),
      textArray(results.map(({ attempt }) => JSON.stringify(attempt.requestHeaders))),
      plainArray(results.map(({ attempt }) => attempt.responseStatus)),
      textArray(results.map(({ attempt }) => attempt.responseBody)),
      textArray(results.map(({ attempt }) => attempt.error)),
      textArray(results.map(({ startedAt }) => startedAt.toISOString())),
      plainArray(results.map(({ attempt }) => attempt.durationMs)),
    ]);
    const valid = new Set(counted.filter((row) => row.valid === true).map((row) => String(row.delivery_id)));
    return updateEndpoints(tx, results, valid, new Date(now));
  }
}

/** Updates the endpoints of the results: failing since when, paused until when, disabled. Returns those that were disabled. */
async function updateEndpoints(
  tx: Tx,
  results: readonly AttemptResult[],
  valid: ReadonlySet<string>,
  now: Date,
): Promise<DisabledEndpoint[]> {
  const changing = results.filter(mayChangeEndpoint);
  const ids = [...new Set(changing.map(({ due }) => due.endpointId))].sort();
  const allDisabled: DisabledEndpoint[] = [];
  for (const id of ids) {
    // A 410 counts only when the delivery's lease was still valid, so not from before the endpoint was enabled
    // again, and only when it came from the address that the endpoint has now.
    const gone = changing.find(({ due, attempt }) => due.endpointId === id && attempt.responseStatus === GONE && valid.has(due.deliveryId));
    if (gone !== undefined) allDisabled.push(...(await disable(tx, { id, url: gone.due.url }, now, "gone")));
    const quietMs = Math.max(...changing.map(({ due, attempt }) => (due.endpointId === id ? retryAfterOf(attempt) : 0)));
    if (quietMs > 0) await tx.query(quietStatement, [id, new Date(now.getTime() + quietMs).toISOString()]);
    if (changing.some(({ due, attempt }) => due.endpointId === id && attempt.delivered)) {
      await tx.prisma.webhookEndpoint.updateMany({ where: { id, failingSince: { not: null } }, data: { failingSince: null } });
      continue;
    }
    const { count } = await tx.prisma.webhookEndpoint.updateMany({ where: { id, failingSince: null }, data: { failingSince: now } });
    if (count > 0) continue;
    const since = new Date(now.getTime() - DISABLE_AFTER_MS);
    allDisabled.push(...(await disable(tx, { id, failingSince: { lt: since } }, now, "failing")));
  }
  for (const [reason, words] of Object.entries(DISABLED_BECAUSE)) {
    const of = allDisabled.filter((endpoint) => endpoint.reason === reason).map(({ id }) => id);
    if (of.length > 0) await failPending(tx, of, words);
  }
  return allDisabled;
}

/** RFC 9110 §15.5.11: the resource is gone, likely for good. */
const GONE = 410;

const DISABLED_BECAUSE: Readonly<Record<DisabledEndpoint["reason"], string>> = {
  failing: "the endpoint was disabled after failing for five days",
  gone: "the endpoint was disabled because its receiver answered 410 Gone",
};

/** Disables the endpoints that match `where` and are enabled, and returns them. */
async function disable(
  tx: Tx,
  where: Prisma.WebhookEndpointWhereInput,
  now: Date,
  reason: DisabledEndpoint["reason"],
): Promise<DisabledEndpoint[]> {
  const disabled = await tx.prisma.webhookEndpoint.updateManyAndReturn({
    where: { ...where, disabledAt: null },
    data: { disabledAt: now, disabledReason: reason },
    select: { id: true, appId: true, url: true },
  });
  return disabled.map((endpoint) => ({ ...endpoint, reason }));
}

/** The wait in milliseconds that a receiver asked for, at most `LONGEST_RETRY_AFTER_MS`; 0 when it asked for none. */
function retryAfterOf(attempt: Attempt): number {
  return Math.min(attempt.retryAfterMs ?? 0, LONGEST_RETRY_AFTER_MS);
}

/** Whether the result disables or pauses its endpoint: the receiver answered 410, or asked for a wait. */
export function stopsSending({ attempt }: AttemptResult): boolean {
  return attempt.responseStatus === GONE || retryAfterOf(attempt) > 0;
}

/** Whether a result may change its endpoint's row. */
function mayChangeEndpoint({ attempt, due }: AttemptResult): boolean {
  return !attempt.delivered || due.wasFailing;
}

/**
 * Locks the endpoints of results before their deliveries are updated. Transactions that disable
 * or remove an endpoint lock in this order too, so there is no deadlock. Endpoints whose rows do
 * not change are locked FOR KEY SHARE, which any number of processes may hold.
 */
async function lockEndpoints(tx: Tx, results: readonly AttemptResult[]): Promise<void> {
  const changing = new Set(results.filter(mayChangeEndpoint).map(({ due }) => due.endpointId));
  const others = new Set(results.map(({ due }) => due.endpointId).filter((id) => !changing.has(id)));
  if (changing.size > 0) await tx.query(lockToChangeStatement, [plainArray([...changing])]);
  if (others.size > 0) await tx.query(lockToKeepStatement, [plainArray([...others])]);
}

// In order of their ids, so that two processes never deadlock.
const lockToChangeStatement = {
  name: "webhooks_lock_to_change",
  text: `SELECT id FROM webhook_endpoint WHERE id = ANY ($1::uuid[]) ORDER BY id FOR NO KEY UPDATE`,
};
const lockToKeepStatement = {
  name: "webhooks_lock_to_keep",
  text: `SELECT id FROM webhook_endpoint WHERE id = ANY ($1::uuid[]) ORDER BY id FOR KEY SHARE`,
};

const quietStatement = {
  name: "webhooks_quiet",
  text: `UPDATE webhook_endpoint SET quiet_until = greatest(quiet_until, $2::timestamptz) WHERE id = $1::uuid`,
};

// A delivery that was retried by hand during the attempt, or failed because its endpoint was disabled,
// has another lease or none: the attempt is inserted, and the delivery does not change.
const recordStatement = {
  name: "webhooks_ended",
  text: `
    WITH ended AS MATERIALIZED (
      SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bool[], $5::timestamptz[], $6::text[], $7::jsonb[], $8::int[], $9::text[], $10::text[], $11::timestamptz[], $12::int[])
        AS r(id, delivery_id, lease, delivered, next_at, url, request_headers, status, body, error, started_at, duration_ms)),
    updated AS (
      UPDATE webhook_delivery d SET attempts = d.attempts + 1, job_id = NULL, leased_until = NULL, updated_at = now(),
        status = CASE WHEN r.delivered THEN 'succeeded' WHEN r.next_at IS NULL THEN 'failed' ELSE 'pending' END,
        next_attempt_at = r.next_at, last_response_status = r.status, last_error = r.error
      FROM ended r WHERE d.id = r.delivery_id AND d.job_id = r.lease AND d.status = 'pending' RETURNING d.id)
    INSERT INTO webhook_attempt (id, delivery_id, url, request_headers, response_status, response_body, error, started_at, duration_ms)
    SELECT r.id, r.delivery_id, r.url, r.request_headers, r.status, r.body, r.error, r.started_at, r.duration_ms
    FROM ended r JOIN webhook_delivery d ON d.id = r.delivery_id
    RETURNING delivery_id, delivery_id IN (SELECT u.id FROM updated u) AS valid`,
};
