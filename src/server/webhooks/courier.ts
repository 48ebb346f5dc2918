import type { Database } from "../platform/db.ts";
import { newId } from "../platform/ids.ts";
import { log } from "../platform/log.ts";
import { guardedAgent, type Resolver } from "./address.ts";
import { attemptOf } from "./attempt.ts";
import { type DisabledEndpoint, type Ending, Endings, sendsAway } from "./endings.ts";
import { type Due, endAllLeases, giveBack, giveUpDisabled, lookAgain, takeDue } from "./lease.ts";
import { Lines, REQUESTS_TO_ONE } from "./lines.ts";
import { onNudge } from "./nudge.ts";

/**
 * Takes news from the outbox to the endpoints that asked for it. Every server process
 * has one, and what one of them leaves undone another one does.
 *
 *   outbox_event ──(one statement)──► webhook_delivery ──(one statement: a lease)──► POST
 *                                          ▲                                           │
 *                                          └───────(one transaction: how it went)──────┘
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
  leaseMarginMs?: number;
  now?: () => number;
  /** Between 0 and 1. */
  random?: () => number;
  resolve?: Resolver;
};

export type Courier = { stop(): Promise<void> };

/** Deliveries that one process has taken and not ended. */
const TAKEN = 512;
const TAKEN_AT_ONCE = 64;
/** Of these of one endpoint: one that is slow leaves room for the others. */
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
  readonly #leaseMs: number;
  /** Leases of a process that died are ended, where no other process can have any. */
  #begun: boolean;
  #timer: NodeJS.Timeout | undefined;
  #round: Promise<void> | undefined;
  #again = false;
  #stopping = false;
  readonly #unattempted: Due[] = [];

  constructor(db: Database, options: CourierOptions) {
    this.#db = db;
    this.#options = options;
    this.#now = options.now ?? Date.now;
    // Long enough for the last one in the longest line to be sent and written down.
    this.#leaseMs = options.timeoutMs * (TAKEN_OF_ONE / REQUESTS_TO_ONE) + (options.leaseMarginMs ?? LEASE_MARGIN_MS);
    this.#begun = db.kind !== "embedded";
    this.#agent = guardedAgent(
      { allowLoopback: options.allowLoopback },
      { connectTimeoutMs: options.timeoutMs, ...(options.resolve === undefined ? {} : { resolve: options.resolve }) },
    );
    this.#lines = new Lines(() => this.wake());
    this.#endings = new Endings({
      db,
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
    await giveBack(this.#db.sql, this.#unattempted).catch((error) =>
      log.warn("deliveries could not be given back; their lease ends", { error }),
    );
    await this.#agent.destroy();
  }

  #wakeIn(ms: number): void {
    setTimeout(() => this.wake(), ms).unref();
  }

  async #look(): Promise<void> {
    try {
      while (this.#again && !this.#stopping) {
        this.#again = false;
        if (!this.#begun) await endAllLeases(this.#db.sql);
        this.#begun = true;
        const [glance] = await this.#db.sql.query(glanceStatement, []);
        if (glance?.news === true) {
          const [relayed] = await this.#db.sql.query(relayStatement, [newId()]);
          if (Number(relayed?.events) === NEWS_AT_ONCE) this.#again = true;
        }
        if (glance?.news === true || glance?.pending === true) await this.#takeMore();
      }
    } catch (error) {
      // The database is away; the next poll tries again.
      log.warn("webhooks could not be handed on", { error });
    }
  }

  async #takeMore(): Promise<void> {
    const most = Math.min(TAKEN - this.#taken.size, TAKEN_AT_ONCE);
    if (most <= 0 || this.#stopping) return;
    const takenAt = this.#now();
    const room = this.#lines.room(TAKEN_OF_ONE);
    const taken = await takeDue(this.#db.sql, { lease: newId(), leaseMs: this.#leaseMs, most, mostOfOne: TAKEN_OF_ONE, room });
    for (const due of taken) {
      if (due.disabled) continue;
      this.#lines.noteTaken(due.endpointId);
      const done: Promise<void> = this.#deliver(due, takenAt).finally(() => this.#taken.delete(done));
      this.#taken.add(done);
    }
    if (taken.length === most) this.#again = true;
    await giveUpDisabled(
      this.#db.sql,
      taken.filter(({ disabled }) => disabled),
    );
  }

  async #deliver(taken: Due, takenAt: number): Promise<void> {
    const ending = await this.#lines.run(taken.endpointId, async () => {
      const due = await this.#afterWaiting(taken, takenAt);
      if (due === null) return null;
      const attempted = await this.#attempt(due);
      if (!sendsAway(attempted)) return attempted;
      // Written down before the next one's turn, which has to find that its endpoint is quiet or disabled.
      await this.#endings.add(attempted);
      this.#lines.noteSentAway(taken.endpointId, this.#now());
      return null;
    });
    if (ending !== null) await this.#endings.add(ending);
    this.#lines.leave(taken.endpointId);
  }

  async #attempt(due: Due): Promise<Ending> {
    const startedAt = new Date(this.#now());
    const { serverSecret, timeoutMs } = this.#options;
    return { due, attempt: await attemptOf(due, startedAt, { agent: this.#agent, serverSecret, timeoutMs }), startedAt };
  }

  /**
   * What is to be sent now that it is this delivery's turn, or null. While it waited it
   * may have been given up or retried by hand, the secret rotated, the lease lost to
   * another courier that sends it instead.
   */
  async #afterWaiting(taken: Due, takenAt: number): Promise<Due | null> {
    if (this.#stopping) {
      this.#unattempted.push(taken);
      return null;
    }
    const waited = this.#now() - takenAt;
    if (waited <= LOOKS_AGAIN_AFTER_MS && !this.#lines.sentAwaySince(taken.endpointId, takenAt)) return taken;
    // What would not end within the lease is left to the courier that has the next one.
    if (waited + this.#options.timeoutMs > this.#leaseMs) return null;
    try {
      const due = await lookAgain(this.#db.sql, taken);
      if (due?.disabled === true) await giveUpDisabled(this.#db.sql, [due]);
      else if (due?.quiet === true) await giveBack(this.#db.sql, [due]);
      else return due;
    } catch (error) {
      // The database is away. The delivery can be taken again when its lease is over.
      log.warn("a delivery could not be looked at again; it will be repeated", { error });
    }
    return null;
  }
}

const POLL_MS = 1_000;
const NUDGE_MS = 30;
const LEASE_MARGIN_MS = 20_000;

const glanceStatement = {
  name: "webhooks_glance",
  text: `
    SELECT EXISTS (SELECT 1 FROM outbox_event WHERE relayed_at IS NULL) AS news,
      EXISTS (SELECT 1 FROM webhook_delivery WHERE status = 'pending') AS pending`,
};

// Subscribers are looked up and events marked in one statement, so they are seen as of
// one moment: an endpoint that was there when an event was committed is there here too.
// Ids begin with the time, like $1, so that deliveries sort by it. The column keeps whole
// milliseconds and rounds, which could make a delivery due after the statement that is to take it.
const relayStatement = {
  name: "webhooks_relay",
  text: `
    WITH news AS MATERIALIZED (
      SELECT id, app_id, endpoint_id, sandbox, type FROM outbox_event WHERE relayed_at IS NULL
      ORDER BY id LIMIT ${NEWS_AT_ONCE} FOR UPDATE SKIP LOCKED),
    made AS (
      INSERT INTO webhook_delivery (id, app_id, endpoint_id, event_id, type, next_attempt_at)
      SELECT overlay(gen_random_uuid()::text PLACING left($1::text, 15) FROM 1 FOR 15)::uuid, n.app_id, e.id, n.id, n.type, date_trunc('milliseconds', now())
      FROM news n JOIN webhook_endpoint e ON e.app_id = n.app_id AND e.disabled_at IS NULL
        AND CASE WHEN n.endpoint_id IS NOT NULL THEN e.id = n.endpoint_id ELSE e.sandbox = n.sandbox AND n.type = ANY (e.events) END
      ORDER BY n.id),
    marked AS (UPDATE outbox_event o SET relayed_at = now() FROM news n WHERE o.id = n.id)
    SELECT count(*) AS events FROM news`,
};
