import type { Prisma } from "../../generated/prisma/client.ts";
import { type Database, type Tx, transaction } from "../platform/db.ts";
import { newId } from "../platform/ids.ts";
import { log } from "../platform/log.ts";
import { plainArray, textArray } from "../platform/sql.ts";
import { giveUpPending } from "./endpoints.ts";
import type { Due } from "./lease.ts";
import type { Attempt } from "./send.ts";

/** Writing down how attempts went: when the next one is due, and which endpoints are given up. */

/** `failing`: nothing but failures for five days. `gone`: the receiver answered 410. */
export type DisabledEndpoint = { id: string; appId: string; url: string; reason: "failing" | "gone" };
/** Attempts in all: with waits of 10 s, 30 s, 90 s … and at most 12 h, the last one is about 3 days after the first. */
export const MOST_ATTEMPTS = 14;
const LONGEST_WAIT = 4_320;
/** An endpoint that only failed for this long is disabled. */
export const GIVES_UP_AFTER_MS = 5 * 24 * 60 * 60 * 1000;

/** How long to wait after so many failed attempts; null when that was the last one. A fifth up or down, so that retries spread out. */
export function waitAfter(attempts: number, firstRetryMs: number, random: () => number = Math.random): number | null {
  if (attempts >= MOST_ATTEMPTS) return null;
  return Math.round(firstRetryMs * Math.min(3 ** (attempts - 1), LONGEST_WAIT) * (0.8 + 0.4 * random()));
}

/** What a receiver asks for with Retry-After is obeyed up to this: the longest wait between attempts there is. */
export const LONGEST_RETRY_AFTER_MS = 12 * 60 * 60 * 1000;

/** How one attempt went. */
export type Ending = { due: Due; attempt: Attempt; startedAt: Date };

export type EndingsOptions = {
  db: Database;
  firstRetryMs: number;
  now(): number;
  random?: (() => number) | undefined;
  onDisabled(endpoint: DisabledEndpoint): void;
};

export class Endings {
  readonly #options: EndingsOptions;
  #pending: Ending[] = [];
  #writing: Promise<void> | undefined;

  constructor(options: EndingsOptions) {
    this.#options = options;
  }

  /** Resolves when it is written down, or could not be. */
  add(ending: Ending): Promise<void> {
    this.#pending.push(ending);
    this.#writing ??= this.#writeAll();
    return this.#writing;
  }

  /** What ends while one transaction is under way goes together into the next one. */
  async #writeAll(): Promise<void> {
    // What this turn of the event loop brings comes along.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#pending.length > 0) {
      const endings = this.#pending.splice(0, 128);
      let disabled: DisabledEndpoint[] = [];
      // If nothing helps, the deliveries are taken again when their lease is over, and sent once more.
      for (let tries = 1; ; tries++) {
        try {
          disabled = await transaction((tx) => this.#write(tx, endings), this.#options.db);
          break;
        } catch (error) {
          if (tries === 5) {
            log.warn("deliveries could not be written down; they will be repeated", { deliveries: endings.length, error });
            break;
          }
          await new Promise((resolve) => setTimeout(resolve, 100 * 2 ** tries));
        }
      }
      for (const endpoint of disabled) this.#options.onDisabled(endpoint);
    }
    // In the same turn as the look for more, so that nothing comes in between.
    this.#writing = undefined;
  }

  async #write(tx: Tx, endings: readonly Ending[]): Promise<DisabledEndpoint[]> {
    await lockEndpoints(tx, endings);
    const now = this.#options.now();
    const next = endings.map(({ due, attempt }) => {
      if (attempt.delivered || attempt.responseStatus === GONE) return null;
      const wait = waitAfter(due.attempts + 1, this.#options.firstRetryMs, this.#options.random);
      return wait === null ? null : new Date(now + Math.max(wait, askedWait(attempt))).toISOString();
    });
    const counted = await tx.query(endedStatement, [
      plainArray(endings.map(() => newId())),
      plainArray(endings.map(({ due }) => due.deliveryId)),
      plainArray(endings.map(({ due }) => due.lease)),
      plainArray(endings.map(({ attempt }) => (attempt.delivered ? "t" : "f"))),
      textArray(next),
      textArray(endings.map(({ due }) => due.url)),
      textArray(endings.map(({ attempt }) => JSON.stringify(attempt.requestHeaders))),
      plainArray(endings.map(({ attempt }) => attempt.responseStatus)),
      textArray(endings.map(({ attempt }) => attempt.responseBody)),
      textArray(endings.map(({ attempt }) => attempt.error)),
      textArray(endings.map(({ startedAt }) => startedAt.toISOString())),
      plainArray(endings.map(({ attempt }) => attempt.durationMs)),
    ]);
    const valid = new Set(counted.filter((row) => row.valid === true).map((row) => String(row.delivery_id)));
    return noteFailing(tx, endings, valid, new Date(now));
  }
}

/** Notes which endpoints fail, and gives up those that have done nothing else for too long. */
async function noteFailing(tx: Tx, endings: readonly Ending[], valid: ReadonlySet<string>, now: Date): Promise<DisabledEndpoint[]> {
  const news = endings.filter(saysMore);
  const ids = [...new Set(news.map(({ due }) => due.endpointId))].sort();
  const givenUp: DisabledEndpoint[] = [];
  for (const id of ids) {
    // Neither an attempt that was given up or retried while it was under way, such as one from before
    // the endpoint was enabled again, nor one to another address than it has now says that it is gone.
    const gone = news.find(({ due, attempt }) => due.endpointId === id && attempt.responseStatus === GONE && valid.has(due.deliveryId));
    if (gone !== undefined) givenUp.push(...(await disable(tx, { id, url: gone.due.url }, now, "gone")));
    const quietMs = Math.max(...news.map(({ due, attempt }) => (due.endpointId === id ? askedWait(attempt) : 0)));
    if (quietMs > 0) await tx.query(quietStatement, [id, new Date(now.getTime() + quietMs).toISOString()]);
    if (news.some(({ due, attempt }) => due.endpointId === id && attempt.delivered)) {
      await tx.prisma.webhookEndpoint.updateMany({ where: { id, failingSince: { not: null } }, data: { failingSince: null } });
      continue;
    }
    const { count } = await tx.prisma.webhookEndpoint.updateMany({ where: { id, failingSince: null }, data: { failingSince: now } });
    if (count > 0) continue;
    const since = new Date(now.getTime() - GIVES_UP_AFTER_MS);
    givenUp.push(...(await disable(tx, { id, failingSince: { lt: since } }, now, "failing")));
  }
  for (const [reason, words] of Object.entries(DISABLED_BECAUSE)) {
    const of = givenUp.filter((endpoint) => endpoint.reason === reason).map(({ id }) => id);
    if (of.length > 0) await giveUpPending(tx, of, words);
  }
  return givenUp;
}

/** RFC 9110 §15.5.11: what was there is gone, likely for good. */
const GONE = 410;

const DISABLED_BECAUSE: Readonly<Record<DisabledEndpoint["reason"], string>> = {
  failing: "the endpoint was disabled after failing for five days",
  gone: "the endpoint was disabled because its receiver answered 410 Gone",
};

/** Disables an endpoint if it is enabled and like `where`; the endpoint, or nothing. */
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

/** How long a receiver asked to be left alone, as far as that is obeyed. */
function askedWait(attempt: Attempt): number {
  return Math.min(attempt.retryAfterMs ?? 0, LONGEST_RETRY_AFTER_MS);
}

/** Whether nothing more is to be sent to the receiver for now: it is gone, or asked to be left alone. */
export function sendsAway({ attempt }: Ending): boolean {
  return attempt.responseStatus === GONE || askedWait(attempt) > 0;
}

/** Whether an ending may change what is known of its endpoint. */
function saysMore({ attempt, due }: Ending): boolean {
  return !attempt.delivered || due.wasFailing;
}

/**
 * Locks the endpoints of endings before their deliveries are touched. Who disables or
 * removes an endpoint locks in this order too, so that nobody waits in a circle. Where
 * nothing of the endpoint will change, any number of processes may hold the lock.
 */
async function lockEndpoints(tx: Tx, endings: readonly Ending[]): Promise<void> {
  const changing = new Set(endings.filter(saysMore).map(({ due }) => due.endpointId));
  const others = new Set(endings.map(({ due }) => due.endpointId).filter((id) => !changing.has(id)));
  if (changing.size > 0) await tx.query(lockToChangeStatement, [plainArray([...changing])]);
  if (others.size > 0) await tx.query(lockToKeepStatement, [plainArray([...others])]);
}

// In order of their ids, so that two processes never wait for each other.
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

// A delivery that was retried by hand in the meantime, or disabled with its endpoint,
// has another lease or none: this attempt is noted and changes nothing.
const endedStatement = {
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
