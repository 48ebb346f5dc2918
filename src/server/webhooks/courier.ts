import { type Database, transaction } from "../platform/db.ts";
import { newId } from "../platform/ids.ts";
import { log } from "../platform/log.ts";
import { guardedAgent, type Resolver } from "./address.ts";
import { attemptOf } from "./attempt.ts";
import { type Due, dueFor, endOvertaken, isQuiet, putOff } from "./due.ts";
import { type DisabledEndpoint, type Ending, Endings } from "./endings.ts";
import { Lines, REQUESTS_TO_ONE } from "./lines.ts";
import { onNudge } from "./nudge.ts";
import { openQueue, type Queue } from "./queue.ts";

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

export type Courier = { stop(): Promise<void> };

/** Jobs that one process has taken and not ended. */
const TAKEN = 512;
const TAKEN_AT_ONCE = 64;
/** Of these of one endpoint, in all processes together: one that is slow leaves room for the others. */
const TAKEN_OF_ONE = 32;
/** Who waited for longer than this looks again whether there is still something to send. */
const LOOKS_AGAIN_AFTER_MS = 500;
/** Small, so that the embedded database is not held for long. */
const NEWS_AT_ONCE = 100;

export function startCourier(db: Database, options: CourierOptions): Courier {
  const courier = new RunningCourier(db, options);
  courier.wake();
  return courier;
}

class RunningCourier implements Courier {
  readonly #db: Database;
  readonly #options: CourierOptions;
  readonly #agent: ReturnType<typeof guardedAgent>;
  readonly #taken = new Set<Promise<void>>();
  readonly #lines: Lines;
  readonly #endings: Endings;
  readonly #now: () => number;
  readonly #leaseSeconds: number;
  #queue: Promise<Queue> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #round: Promise<void> | undefined;
  #again = false;
  #stopping = false;
  readonly #unattempted: string[] = [];

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
    this.#lines = new Lines(() => this.wake());
    this.#endings = new Endings({
      db,
      openQueue: () => this.#openQueue(),
      firstRetryMs: options.firstRetryMs,
      now: this.#now,
      random: options.random,
      onDisabled: options.onDisabled,
    });
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
    this.#lines.letAllGoOn();
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
    const due = await dueFor(this.#db.sql, jobs);
    const overtaken = jobs.filter(({ id }) => !due.has(id));
    if (overtaken.length > 0) await endOvertaken(this.#db.sql, queue, overtaken);
    const now = this.#now();
    const early = [...due].filter(([, each]) => isQuiet(each, now));
    if (early.length > 0) {
      await putOff(this.#db, queue, early);
      // They need jobs for later.
      this.#again = true;
    }
    for (const [job, each] of due) {
      if (isQuiet(each, now)) continue;
      this.#lines.noteTaken(each.endpointId);
      const done: Promise<void> = this.#deliver(job, each, takenAt).finally(() => this.#taken.delete(done));
      this.#taken.add(done);
    }
    if (jobs.length === room) this.#again = true;
  }

  async #deliver(job: string, taken: Due, takenAt: number): Promise<void> {
    const ending = await this.#lines.run(taken.endpointId, async () => {
      const due = await this.#afterWaiting(job, taken, takenAt);
      return due === null ? null : this.#attempt(job, due);
    });
    if (ending !== null) await this.#endings.add(ending);
    this.#lines.leave(taken.endpointId);
  }

  async #attempt(job: string, due: Due): Promise<Ending> {
    const startedAt = new Date(this.#now());
    const { serverSecret, timeoutMs } = this.#options;
    return { job, due, attempt: await attemptOf(due, startedAt, { agent: this.#agent, serverSecret, timeoutMs }), startedAt };
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
      const due = (await dueFor(this.#db.sql, [asked])).get(job) ?? null;
      if (due === null) await endOvertaken(this.#db.sql, await this.#openQueue(), [asked]);
      return due;
    } catch (error) {
      // The database is away. The job comes back when its lease is over.
      log.warn("a delivery could not be looked at again; it will be repeated", { error });
      return null;
    }
  }
}

const POLL_MS = 1_000;
const NUDGE_MS = 30;
const LEASE_MARGIN_SECONDS = 20;

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
