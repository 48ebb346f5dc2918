import type { Prisma } from "../../generated/prisma/client.ts";
import { type Database, type Tx, transaction } from "../platform/db.ts";
import { newId, shownId } from "../platform/ids.ts";
import { log } from "../platform/log.ts";
import { plainArray, textArray } from "../platform/sql.ts";
import { guardedAgent, type Resolver } from "./address.ts";
import { bodyOf } from "./deliveries.ts";
import { giveUpPending, SECRET_UNREADABLE } from "./endpoints.ts";
import { onNudge } from "./nudge.ts";
import { openQueue, type Queue } from "./queue.ts";
import { unseal } from "./secret.ts";
import { type Attempt, post } from "./send.ts";
import { signatureHeaders } from "./sign.ts";

/**
 * Takes news from the outbox to the endpoints that asked for it. Every server process
 * has one, and what one of them leaves undone another one does.
 *
 *   outbox_event ──(one statement)──► webhook_delivery ──(one transaction)──► job ──► POST
 *                                          ▲                                            │
 *                                          └───────(one transaction: how it went)───────┘
 */
export type CourierOptions = {
  /** The server's secret, which the endpoints' secrets are sealed with. */
  serverSecret: string;
  allowLoopback: boolean;
  /** For one attempt, from the look-up of the name to the end of the answer. */
  timeoutMs: number;
  /** The wait before the second attempt. */
  firstRetryMs: number;
  /** Told once of each endpoint that was given up. */
  onDisabled(endpoint: DisabledEndpoint): void;
  pollMs?: number;
  /** What a lease lasts beyond the time that its line may take. */
  leaseMarginSeconds?: number;
  now?: () => number;
  /** Between 0 and 1. */
  random?: () => number;
  resolve?: Resolver;
};

/** `failing`: nothing but failures for five days. `gone`: the receiver answered 410. */
export type DisabledEndpoint = { id: string; appId: string; url: string; reason: "failing" | "gone" };
export type Courier = { stop(): Promise<void> };

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

/** Jobs that one process has taken and not ended. */
const TAKEN = 512;
const TAKEN_AT_ONCE = 64;
/** Of these of one endpoint, in all processes together: one that is slow leaves room for the others. */
const TAKEN_OF_ONE = 32;
/** Requests to one endpoint at a time; what else is taken of it waits its turn. */
const REQUESTS_TO_ONE = 8;
/** Who waited for longer than this looks again whether there is still something to send. */
const LOOKS_AGAIN_AFTER_MS = 500;
/** Small, so that the embedded database is not held for long. */
const NEWS_AT_ONCE = 100;

export function startCourier(db: Database, options: CourierOptions): Courier {
  const courier = new RunningCourier(db, options);
  courier.wake();
  return courier;
}

/** What one process has of one endpoint. */
type Line = {
  /** Jobs taken and not ended. */
  taken: number;
  requests: number;
  waiting: (() => void)[];
  /** Something was taken since the last look on its behalf, so there may be more. */
  mayHaveMore: boolean;
};

type Ending = { job: string; due: Due; attempt: Attempt; startedAt: Date };

class RunningCourier implements Courier {
  readonly #db: Database;
  readonly #options: CourierOptions;
  readonly #agent: ReturnType<typeof guardedAgent>;
  readonly #taken = new Set<Promise<void>>();
  readonly #lines = new Map<string, Line>();
  readonly #now: () => number;
  readonly #leaseSeconds: number;
  #queue: Promise<Queue> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #round: Promise<void> | undefined;
  #again = false;
  #stopping = false;
  #endings: Ending[] = [];
  readonly #unattempted: string[] = [];
  #writing: Promise<void> | undefined;

  constructor(db: Database, options: CourierOptions) {
    this.#db = db;
    this.#options = options;
    this.#now = options.now ?? Date.now;
    // Long enough for the last one in the longest line to be sent and written down.
    this.#leaseSeconds =
      Math.ceil((options.timeoutMs / 1000) * (TAKEN_OF_ONE / REQUESTS_TO_ONE)) + (options.leaseMarginSeconds ?? LEASE_MARGIN_SECONDS);
    this.#agent = guardedAgent(
      { allowLoopback: options.allowLoopback },
      { connectTimeoutMs: options.timeoutMs, ...(options.resolve === undefined ? {} : { resolve: options.resolve }) },
    );
    // A moment later, when what was just written is committed.
    onNudge(() => this.#wakeIn(NUDGE_MS));
  }

  /** Looks now, and again right after when it is looking already. */
  wake(): void {
    if (this.#stopping) return;
    this.#again = true;
    if (this.#round !== undefined) return;
    clearTimeout(this.#timer);
    this.#round = this.#look().finally(() => {
      this.#round = undefined;
      if (this.#stopping) return;
      this.#timer = setTimeout(() => this.wake(), this.#options.pollMs ?? POLL_MS);
      this.#timer.unref();
    });
  }

  /** Takes no more, gives back what waits for its turn, and writes down how requests under way went. */
  async stop(): Promise<void> {
    this.#stopping = true;
    onNudge(undefined);
    clearTimeout(this.#timer);
    await this.#round;
    for (const line of this.#lines.values()) for (const goOn of line.waiting.splice(0)) goOn();
    while (this.#taken.size > 0) await Promise.all(this.#taken);
    const queue = await this.#queue?.catch(() => undefined);
    await queue?.giveBack(this.#unattempted).catch((error) => log.warn("jobs could not be given back; their lease ends", { error }));
    await queue?.stop();
    await this.#agent.destroy();
  }

  #wakeIn(ms: number): void {
    setTimeout(() => this.wake(), ms).unref();
  }

  async #look(): Promise<void> {
    try {
      while (this.#again && !this.#stopping) {
        this.#again = false;
        const [glance] = await this.#db.sql.query(glanceStatement, []);
        if (glance?.news === true) {
          const [relayed] = await this.#db.sql.query(relayStatement, [newId()]);
          if (Number(relayed?.events) === NEWS_AT_ONCE) this.#again = true;
        }
        // Without deliveries there is no queue: who has no webhooks does not pay for one.
        if (glance?.pending !== true && glance?.news !== true) continue;
        const queue = await this.#openQueue();
        if (glance.news === true || glance.waiting === true) await this.#assign(queue);
        await this.#takeMore(queue);
      }
    } catch (error) {
      // The database is away; the next poll tries again.
      log.warn("webhooks could not be handed on", { error });
    }
  }

  #openQueue(): Promise<Queue> {
    this.#queue ??= openQueue(this.#db, { leaseSeconds: this.#leaseSeconds }).catch((error) => {
      this.#queue = undefined;
      throw error;
    });
    return this.#queue;
  }

  /** Gives a job to every delivery that waits for one: new ones, failed ones, and those that are to be retried by hand. */
  async #assign(queue: Queue): Promise<void> {
    const assigned = await transaction(async (tx) => {
      const rows = await tx.query(assignStatement, []);
      const jobs = rows.map((row) => ({
        id: String(row.job_id),
        deliveryId: String(row.id),
        endpointId: String(row.endpoint_id),
        dueAt: new Date(row.next_attempt_at as string | Date),
      }));
      if (jobs.length > 0) await queue.add(tx, jobs);
      return jobs;
    }, this.#db);
    const now = Date.now();
    // What comes due before the next poll does not wait for it.
    for (const { dueAt } of assigned) {
      const wait = dueAt.getTime() - now;
      if (wait > 0 && wait < (this.#options.pollMs ?? POLL_MS)) this.#wakeIn(wait + 1);
    }
    if (assigned.length === NEWS_AT_ONCE) this.#again = true;
  }

  async #takeMore(queue: Queue): Promise<void> {
    const room = Math.min(TAKEN - this.#taken.size, TAKEN_AT_ONCE);
    if (room <= 0 || this.#stopping) return;
    const takenAt = this.#now();
    const jobs = await queue.take(room, TAKEN_OF_ONE);
    if (jobs.length === 0) return;
    const due = await this.#dueFor(jobs);
    const overtaken = jobs.filter(({ id }) => !due.has(id));
    if (overtaken.length > 0) await this.#endOvertaken(queue, overtaken);
    const early = [...due].filter(([, each]) => this.#isQuiet(each));
    if (early.length > 0) await this.#putOff(queue, early);
    for (const [job, each] of due) {
      if (this.#isQuiet(each)) continue;
      this.#lineOf(each.endpointId).mayHaveMore = true;
      const done: Promise<void> = this.#deliver(job, each, takenAt).finally(() => this.#taken.delete(done));
      this.#taken.add(done);
    }
    if (jobs.length === room) this.#again = true;
  }

  /** Ends jobs that a retry by hand, or the end of the endpoint, has overtaken. */
  async #endOvertaken(queue: Queue, jobs: readonly { id: string; deliveryId: string }[]): Promise<void> {
    await this.#db.sql.query(overtakenStatement, [
      plainArray(jobs.map(({ id }) => id)),
      plainArray(jobs.map(({ deliveryId }) => deliveryId)),
    ]);
    await queue.end(jobs.map(({ id }) => id));
  }

  /** Its receiver asked to be left alone for a while. */
  #isQuiet({ quietUntil }: Due): boolean {
    return quietUntil !== null && quietUntil.getTime() > this.#now();
  }

  /** Lets deliveries wait until their receiver wants to hear again; that counts as no attempt. */
  async #putOff(queue: Queue, early: readonly [job: string, due: Due][]): Promise<void> {
    const jobs = early.map(([job]) => job);
    await transaction(async (tx) => {
      await tx.query(putOffStatement, [plainArray(jobs), plainArray(early.map(([, { deliveryId }]) => deliveryId))]);
      await queue.end(jobs, tx);
    }, this.#db);
    // They need jobs for later.
    this.#again = true;
  }

  #lineOf(endpointId: string): Line {
    let line = this.#lines.get(endpointId);
    if (line === undefined) {
      line = { taken: 0, requests: 0, waiting: [], mayHaveMore: false };
      this.#lines.set(endpointId, line);
    }
    return line;
  }

  /** Runs work when fewer than the most run for this endpoint. */
  async #inLine<T>(endpointId: string, work: () => Promise<T>): Promise<T> {
    const line = this.#lineOf(endpointId);
    line.taken++;
    if (line.requests >= REQUESTS_TO_ONE) await new Promise<void>((resolve) => line.waiting.push(resolve));
    else line.requests++;
    try {
      return await work();
    } finally {
      // Whoever is next takes the place over.
      const next = line.waiting.shift();
      if (next === undefined) line.requests--;
      else next();
    }
  }

  /** When most of what was taken of an endpoint has ended, there is room for more of it. */
  #leaveLine(endpointId: string): void {
    const line = this.#lineOf(endpointId);
    line.taken--;
    if (line.mayHaveMore && line.taken <= REQUESTS_TO_ONE) {
      line.mayHaveMore = false;
      this.wake();
    }
    if (line.taken === 0) this.#lines.delete(endpointId);
  }

  async #dueFor(jobs: readonly { id: string; deliveryId: string }[]): Promise<Map<string, Due>> {
    const rows = await this.#db.sql.query(dueStatement, [
      plainArray(jobs.map(({ id }) => id)),
      plainArray(jobs.map(({ deliveryId }) => deliveryId)),
    ]);
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

  async #deliver(job: string, taken: Due, takenAt: number): Promise<void> {
    const ending = await this.#inLine(taken.endpointId, async () => {
      const due = await this.#afterWaiting(job, taken, takenAt);
      return due === null ? null : this.#attempt(job, due);
    });
    if (ending !== null) {
      this.#endings.push(ending);
      this.#writing ??= this.#writeEndings();
      await this.#writing;
    }
    this.#leaveLine(taken.endpointId);
  }

  /**
   * What is to be sent now that it is this job's turn, or null. While it waited the
   * delivery may have been given up or retried by hand, the secret rotated, the lease
   * lost to somebody who sends it instead.
   */
  async #afterWaiting(job: string, taken: Due, takenAt: number): Promise<Due | null> {
    if (this.#stopping) {
      this.#unattempted.push(job);
      return null;
    }
    const waited = this.#now() - takenAt;
    if (waited <= LOOKS_AGAIN_AFTER_MS) return taken;
    // What would not end within the lease is left to whoever has the next one.
    if (waited + this.#options.timeoutMs > this.#leaseSeconds * 1000) return null;
    try {
      const asked = { id: job, deliveryId: taken.deliveryId };
      const due = (await this.#dueFor([asked])).get(job) ?? null;
      if (due === null) await this.#endOvertaken(await this.#openQueue(), [asked]);
      return due;
    } catch (error) {
      // The database is away. The job comes back when its lease is over.
      log.warn("a delivery could not be looked at again; it will be repeated", { error });
      return null;
    }
  }

  async #attempt(job: string, due: Due): Promise<Ending> {
    const startedAt = new Date(this.#now());
    const secrets = this.#secretsOf(due, startedAt);
    const body = bodyOf(due.event);
    const attempt: Attempt =
      secrets === null
        ? {
            delivered: false,
            requestHeaders: {},
            responseStatus: null,
            responseBody: null,
            error: SECRET_UNREADABLE,
            retryAfterMs: null,
            durationMs: 0,
          }
        : await post(this.#agent, due.url, {
            headers: signatureHeaders(secrets, {
              id: shownId("evt", due.event.id),
              timestampSeconds: Math.floor(startedAt.getTime() / 1000),
              body,
            }),
            body,
            timeoutMs: this.#options.timeoutMs,
          });
    return { job, due, attempt, startedAt };
  }

  #secretsOf(due: Due, now: Date): [string, ...string[]] | null {
    const { serverSecret } = this.#options;
    const newest = unseal(serverSecret, due.endpointId, due.secret);
    if (newest === null) return null;
    const former =
      due.formerSecret !== null && due.formerSecretUntil !== null && due.formerSecretUntil > now
        ? unseal(serverSecret, due.endpointId, due.formerSecret)
        : null;
    return former === null ? [newest] : [newest, former];
  }

  /** What ends while one transaction is under way goes together into the next one. */
  async #writeEndings(): Promise<void> {
    // What this turn of the event loop brings comes along.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#endings.length > 0) {
      const endings = this.#endings.splice(0, 128);
      let disabled: DisabledEndpoint[] = [];
      // If nothing helps, the jobs come back when their lease is over, and the news is sent once more.
      for (let tries = 1; ; tries++) {
        try {
          const queue = await this.#openQueue();
          disabled = await transaction((tx) => this.#write(tx, queue, endings), this.#db);
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

  async #write(tx: Tx, queue: Queue, endings: readonly Ending[]): Promise<DisabledEndpoint[]> {
    await lockEndpoints(tx, endings);
    const now = this.#now();
    const next = endings.map(({ due, attempt }) => {
      if (attempt.delivered || attempt.responseStatus === GONE) return null;
      const wait = waitAfter(due.attempts + 1, this.#options.firstRetryMs, this.#options.random);
      return wait === null ? null : new Date(now + Math.max(wait, askedWait(attempt))).toISOString();
    });
    const counted = await tx.query(endedStatement, [
      plainArray(endings.map(() => newId())),
      plainArray(endings.map(({ due }) => due.deliveryId)),
      plainArray(endings.map(({ job }) => job)),
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
    await queue.end(
      endings.map(({ job }) => job),
      tx,
    );
    const valid = new Set(counted.filter((row) => row.valid === true).map((row) => String(row.delivery_id)));
    return this.#judge(tx, endings, valid, new Date(now));
  }

  /** Notes which endpoints fail, and gives up those that have done nothing else for too long. */
  async #judge(tx: Tx, endings: readonly Ending[], valid: ReadonlySet<string>, now: Date): Promise<DisabledEndpoint[]> {
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

const POLL_MS = 1_000;
const NUDGE_MS = 30;
const LEASE_MARGIN_SECONDS = 20;

type Due = {
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

const glanceStatement = {
  name: "webhooks_glance",
  text: `
    SELECT EXISTS (SELECT 1 FROM outbox_event WHERE relayed_at IS NULL) AS news,
      EXISTS (SELECT 1 FROM webhook_delivery WHERE status = 'pending') AS pending,
      EXISTS (SELECT 1 FROM webhook_delivery WHERE status = 'pending' AND job_id IS NULL) AS waiting`,
};

// Subscribers are looked up and events marked in one statement, so they are seen as of
// one moment: an endpoint that was there when an event was committed is there here too.
// Ids begin with the time, like $1, so that deliveries sort by it.
const relayStatement = {
  name: "webhooks_relay",
  text: `
    WITH news AS MATERIALIZED (
      SELECT id, app_id, endpoint_id, sandbox, type FROM outbox_event WHERE relayed_at IS NULL
      ORDER BY id LIMIT ${NEWS_AT_ONCE} FOR UPDATE SKIP LOCKED),
    made AS (
      INSERT INTO webhook_delivery (id, app_id, endpoint_id, event_id, type, next_attempt_at)
      SELECT overlay(gen_random_uuid()::text PLACING left($1::text, 15) FROM 1 FOR 15)::uuid, n.app_id, e.id, n.id, n.type, now()
      FROM news n JOIN webhook_endpoint e ON e.app_id = n.app_id AND e.disabled_at IS NULL
        AND CASE WHEN n.endpoint_id IS NOT NULL THEN e.id = n.endpoint_id ELSE e.sandbox = n.sandbox AND n.type = ANY (e.events) END
      ORDER BY n.id),
    marked AS (UPDATE outbox_event o SET relayed_at = now() FROM news n WHERE o.id = n.id)
    SELECT count(*) AS events FROM news`,
};

const assignStatement = {
  name: "webhooks_assign",
  text: `
    UPDATE webhook_delivery d SET job_id = gen_random_uuid() FROM (
      SELECT id FROM webhook_delivery WHERE status = 'pending' AND job_id IS NULL ORDER BY id LIMIT ${NEWS_AT_ONCE} FOR UPDATE SKIP LOCKED) w
    WHERE d.id = w.id RETURNING d.id, d.job_id, d.endpoint_id, d.next_attempt_at`,
};

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

// In order of their ids, so that two processes never wait for each other.
const lockToChangeStatement = {
  name: "webhooks_lock_to_change",
  text: `SELECT id FROM webhook_endpoint WHERE id = ANY ($1::uuid[]) ORDER BY id FOR NO KEY UPDATE`,
};
const lockToKeepStatement = {
  name: "webhooks_lock_to_keep",
  text: `SELECT id FROM webhook_endpoint WHERE id = ANY ($1::uuid[]) ORDER BY id FOR KEY SHARE`,
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
const quietStatement = {
  name: "webhooks_quiet",
  text: `UPDATE webhook_endpoint SET quiet_until = greatest(quiet_until, $2::timestamptz) WHERE id = $1::uuid`,
};

// A delivery that was retried by hand in the meantime, or disabled with its endpoint,
// has another job or none: this attempt is noted and changes nothing.
const endedStatement = {
  name: "webhooks_ended",
  text: `
    WITH ended AS MATERIALIZED (
      SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bool[], $5::timestamptz[], $6::text[], $7::jsonb[], $8::int[], $9::text[], $10::text[], $11::timestamptz[], $12::int[])
        AS r(id, delivery_id, job_id, delivered, next_at, url, request_headers, status, body, error, started_at, duration_ms)),
    updated AS (
      UPDATE webhook_delivery d SET attempts = d.attempts + 1, job_id = NULL, updated_at = now(),
        status = CASE WHEN r.delivered THEN 'succeeded' WHEN r.next_at IS NULL THEN 'failed' ELSE 'pending' END,
        next_attempt_at = r.next_at, last_response_status = r.status, last_error = r.error
      FROM ended r WHERE d.id = r.delivery_id AND d.job_id = r.job_id AND d.status = 'pending' RETURNING d.id)
    INSERT INTO webhook_attempt (id, delivery_id, url, request_headers, response_status, response_body, error, started_at, duration_ms)
    SELECT r.id, r.delivery_id, r.url, r.request_headers, r.status, r.body, r.error, r.started_at, r.duration_ms
    FROM ended r JOIN webhook_delivery d ON d.id = r.delivery_id
    RETURNING delivery_id, delivery_id IN (SELECT u.id FROM updated u) AS valid`,
};
