import type { Database } from "../platform/db.ts";
import { newId } from "../platform/ids.ts";
import { log } from "../platform/log.ts";
import { guardedAgent, type Resolver } from "./address.ts";
import { attemptDelivery } from "./attempt.ts";
import { EndpointQueues, REQUESTS_PER_ENDPOINT } from "./endpoint-queues.ts";
import { type DueDelivery, endAllLeases, failDisabled, releaseLeases, reread, takeDue } from "./lease.ts";
import { onNudge } from "./nudge.ts";
import { type AttemptResult, type DisabledEndpoint, ResultWriter, stopsSending } from "./results.ts";

export type CourierOptions = {
  /** The endpoints' secrets are encrypted with a key made from it. */
  serverSecret: string;
  allowLoopback: boolean;
  /** For one attempt: name look-up, connection, request and response. */
  timeoutMs: number;
  /** The wait before the second attempt; later ones are longer (`waitAfter`). */
  firstRetryMs: number;
  /** Called once for each endpoint that was disabled for its failures or for a 410. */
  onDisabled(endpoint: DisabledEndpoint): void;
  pollMs?: number;
  /** How much longer a lease lasts than an endpoint's longest queue takes. */
  leaseMarginMs?: number;
  now?: () => number;
  /** From 0 (inclusive) to 1 (exclusive), like Math.random. */
  random?: () => number;
  resolve?: Resolver;
};

export type Courier = { stop(): Promise<void> };

/** Deliveries that one process has leased and not finished, at most. */
const MOST_LEASED = 512;
const MOST_PER_TAKE = 64;
/** Of these for one endpoint, so that a slow one leaves room for the others. */
const MOST_PER_ENDPOINT = 32;
/** A delivery that waited in its endpoint's queue for longer than this is read again before it is sent. */
const REREAD_AFTER_MS = 500;
/** Small, because the embedded database has one connection, on which other statements wait. */
const EVENTS_PER_RELAY = 100;

/**
 * Delivers events from the outbox to the endpoints that subscribed to them. Every server
 * process has a courier; when one stops or dies, the others take over its deliveries.
 *
 *   outbox_event ──(one statement)──► webhook_delivery ──(one statement: a lease)──► POST
 *                                          ▲                                           │
 *                                          └─────(one transaction: the result)─────────┘
 */
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
  readonly #queues: EndpointQueues;
  readonly #results: ResultWriter;
  readonly #now: () => number;
  readonly #leaseMs: number;
  /** Leases of a process that died are ended. Only with the embedded database: no other process can have leases there. */
  #staleLeasesEnded: boolean;
  #timer: NodeJS.Timeout | undefined;
  #polling: Promise<void> | undefined;
  #pollAgain = false;
  #stopping = false;
  readonly #unattempted: DueDelivery[] = [];

  constructor(db: Database, options: CourierOptions) {
    this.#db = db;
    this.#options = options;
    this.#now = options.now ?? Date.now;
    // Long enough for the last delivery of the longest queue to be sent and recorded.
    this.#leaseMs = options.timeoutMs * (MOST_PER_ENDPOINT / REQUESTS_PER_ENDPOINT) + (options.leaseMarginMs ?? LEASE_MARGIN_MS);
    this.#staleLeasesEnded = db.kind !== "embedded";
    this.#agent = guardedAgent(
      { allowLoopback: options.allowLoopback },
      { connectTimeoutMs: options.timeoutMs, ...(options.resolve === undefined ? {} : { resolve: options.resolve }) },
    );
    this.#queues = new EndpointQueues(() => this.wake());
    this.#results = new ResultWriter({
      db,
      firstRetryMs: options.firstRetryMs,
      now: this.#now,
      random: options.random,
      onDisabled: options.onDisabled,
    });
    // Later, because `emit` nudges before its transaction commits.
    onNudge(() => this.#wakeAfter(NUDGE_MS));
  }

  /** Polls now. When a poll is under way, another one follows it. */
  wake(): void {
    if (this.#stopping) return;
    this.#pollAgain = true;
    if (this.#polling !== undefined) return;
    clearTimeout(this.#timer);
    this.#polling = this.#poll().finally(() => {
      this.#polling = undefined;
      if (this.#stopping) return;
      this.#timer = setTimeout(() => this.wake(), this.#options.pollMs ?? POLL_MS);
      this.#timer.unref();
    });
  }

  /** Leases no more, ends the leases of deliveries that wait in queues, and records the results of requests under way. */
  async stop(): Promise<void> {
    this.#stopping = true;
    onNudge(undefined);
    clearTimeout(this.#timer);
    await this.#polling;
    this.#queues.resumeAll();
    while (this.#taken.size > 0) await Promise.all(this.#taken);
    await releaseLeases(this.#db.sql, this.#unattempted).catch((error) =>
      log.warn("deliveries could not be released; their leases expire", { error }),
    );
    await this.#agent.destroy();
  }

  #wakeAfter(ms: number): void {
    setTimeout(() => this.wake(), ms).unref();
  }

  async #poll(): Promise<void> {
    try {
      while (this.#pollAgain && !this.#stopping) {
        this.#pollAgain = false;
        if (!this.#staleLeasesEnded) await endAllLeases(this.#db.sql);
        this.#staleLeasesEnded = true;
        const [peeked] = await this.#db.sql.query(peekStatement, []);
        if (peeked?.news === true) {
          const [relayed] = await this.#db.sql.query(relayStatement, [newId()]);
          if (Number(relayed?.events) === EVENTS_PER_RELAY) this.#pollAgain = true;
        }
        if (peeked?.news === true || peeked?.pending === true) await this.#takeMore();
      }
    } catch (error) {
      // The database can't be reached; the next poll tries again.
      log.warn("webhooks could not be handed on", { error });
    }
  }

  async #takeMore(): Promise<void> {
    const most = Math.min(MOST_LEASED - this.#taken.size, MOST_PER_TAKE);
    if (most <= 0 || this.#stopping) return;
    const takenAt = this.#now();
    const room = this.#queues.room(MOST_PER_ENDPOINT);
    const taken = await takeDue(this.#db.sql, { lease: newId(), leaseMs: this.#leaseMs, most, mostOfOne: MOST_PER_ENDPOINT, room });
    for (const due of taken) {
      if (due.disabled) continue;
      this.#queues.noteTaken(due.endpointId);
      const done: Promise<void> = this.#deliver(due, takenAt).finally(() => this.#taken.delete(done));
      this.#taken.add(done);
    }
    if (taken.length === most) this.#pollAgain = true;
    await failDisabled(
      this.#db.sql,
      taken.filter(({ disabled }) => disabled),
    );
  }

  async #deliver(taken: DueDelivery, takenAt: number): Promise<void> {
    const result = await this.#queues.run(taken.endpointId, async () => {
      const due = await this.#recheck(taken, takenAt);
      if (due === null) return null;
      const attempted = await this.#attempt(due);
      if (!stopsSending(attempted)) return attempted;
      // Recorded before `run` starts the next delivery, which has to read that its endpoint is paused or disabled.
      await this.#results.add(attempted);
      this.#queues.noteStopped(taken.endpointId, this.#now());
      return null;
    });
    if (result !== null) await this.#results.add(result);
    this.#queues.noteEnded(taken.endpointId);
  }

  async #attempt(due: DueDelivery): Promise<AttemptResult> {
    const startedAt = new Date(this.#now());
    const { serverSecret, timeoutMs } = this.#options;
    return { due, attempt: await attemptDelivery(due, startedAt, { agent: this.#agent, serverSecret, timeoutMs }), startedAt };
  }

  /**
   * The delivery as it is to be sent when its turn comes, or null. While it waited, its
   * owner may have retried it, disabled the endpoint or rotated the secret, and another
   * courier may have leased it.
   */
  async #recheck(taken: DueDelivery, takenAt: number): Promise<DueDelivery | null> {
    if (this.#stopping) {
      this.#unattempted.push(taken);
      return null;
    }
    const waited = this.#now() - takenAt;
    if (waited <= REREAD_AFTER_MS && !this.#queues.stoppedSince(taken.endpointId, takenAt)) return taken;
    // An attempt may outlast the lease; the courier that leases the delivery next sends it.
    if (waited + this.#options.timeoutMs > this.#leaseMs) return null;
    try {
      const due = await reread(this.#db.sql, taken);
      if (due?.disabled === true) await failDisabled(this.#db.sql, [due]);
      else if (due?.quiet === true) await releaseLeases(this.#db.sql, [due]);
      else return due;
    } catch (error) {
      // The database can't be reached. The delivery can be leased again when its lease has expired.
      log.warn("a delivery could not be looked at again; it will be repeated", { error });
    }
    return null;
  }
}

const POLL_MS = 1_000;
const NUDGE_MS = 30;
const LEASE_MARGIN_MS = 20_000;

const peekStatement = {
  name: "webhooks_peek",
  text: `
    SELECT EXISTS (SELECT 1 FROM outbox_event WHERE relayed_at IS NULL) AS news,
      EXISTS (SELECT 1 FROM webhook_delivery WHERE status = 'pending') AS pending`,
};

// Events and endpoints are read in one statement and so from one snapshot: an endpoint that was
// committed before an event is seen with it. Ids begin with the time in $1, so that deliveries sort
// by it. The column rounds to milliseconds; without date_trunc a delivery could be due later than now(),
// and the statement that follows would not lease it.
const relayStatement = {
  name: "webhooks_relay",
  text: `
    WITH news AS MATERIALIZED (
      SELECT id, app_id, endpoint_id, sandbox, type FROM outbox_event WHERE relayed_at IS NULL
      ORDER BY id LIMIT ${EVENTS_PER_RELAY} FOR UPDATE SKIP LOCKED),
    made AS (
      INSERT INTO webhook_delivery (id, app_id, endpoint_id, event_id, type, next_attempt_at)
      SELECT overlay(gen_random_uuid()::text PLACING left($1::text, 15) FROM 1 FOR 15)::uuid, n.app_id, e.id, n.id, n.type, date_trunc('milliseconds', now())
      FROM news n JOIN webhook_endpoint e ON e.app_id = n.app_id AND e.disabled_at IS NULL
        AND CASE WHEN n.endpoint_id IS NOT NULL THEN e.id = n.endpoint_id ELSE e.sandbox = n.sandbox AND n.type = ANY (e.events) END
      ORDER BY n.id),
    marked AS (UPDATE outbox_event o SET relayed_at = now() FROM news n WHERE o.id = n.id)
    SELECT count(*) AS events FROM news`,
};
