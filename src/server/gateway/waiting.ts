import { processWide } from "../platform/process-wide.ts";

/**
 * Requests wait here for credits that running requests hold: a queue for each wallet, in
 * order of arrival. A queue is served when a request of this process returns credits, and
 * every second because other processes may have returned some.
 *
 * A request that needs fewer credits may pass an earlier one that needs more, but only
 * during the first half of the earlier request's `patienceMs`. After that the queue is
 * closed: no request passes its head, and new ones join behind it.
 */

/** The result of one attempt to get credits. */
export type Asked<Value> =
  | { kind: "served"; value: Value }
  | {
      kind: "short";
      /** Credits that would be enough. */
      needs: bigint;
      /** Credits that were available; less than `needs`. */
      available: bigint;
    };

export type Wait<Value> = {
  walletId: string;
  /** Names the payer before the ledger is asked: a new request of this name joins the queue when that is closed. */
  name: string;
  /** Credits that would be enough. */
  needs: bigint;
  /** The longest wait, in milliseconds. */
  patienceMs: number;
  /** Memory that the request takes while it waits. */
  bytes: number;
  /** Tries to get the credits. The queue serves the requests behind only after it resolves. */
  ask: () => Promise<Asked<Value>>;
  /** Ends the wait. */
  signal: AbortSignal;
  /** For a request that is already running: it is served before those that have not begun. */
  first?: boolean;
};

type Waiter = Omit<Wait<unknown>, "walletId"> & {
  since: number;
  asking: boolean;
  /** Ends the wait; `null` when the request was not served. */
  leave(value: { value: unknown } | null): void;
  fail(error: unknown): void;
};

/** How often a queue is served for credits that other processes return; settlements of this process call `creditsCameBack`. */
const POLL_MS = 1_000;
/** Requests of a queue that ask at once, so that the ledger batches them into one commit. */
const MOST_AT_ONCE = 16;
/** A request does not wait when so many wait already: for its wallet, for all, or in bytes, because each takes memory. */
const MOST_IN_QUEUE = 512;
const MOST_WAITING = 2_048;
const MOST_BYTES = 64 * 1024 * 1024;

type WalletQueues = { byWallet: Map<string, WalletQueue>; byName: Map<string, WalletQueue>; waiting: number; bytes: number };

const queues = processWide("queues for credits", (): WalletQueues => ({ byWallet: new Map(), byName: new Map(), waiting: 0, bytes: 0 }));

/**
 * Waits until `ask` is served, and resolves with its value; with null when `patienceMs` is
 * over, the signal aborts, or too many wait already. Throws what `ask` throws.
 */
export async function waitForCredits<Value>(wait: Wait<Value>): Promise<{ value: Value } | null> {
  if (wait.patienceMs <= 0 || wait.signal.aborted) return null;
  if (queues.waiting >= MOST_WAITING || queues.bytes + wait.bytes > MOST_BYTES) return null;
  const queue = queues.byWallet.get(wait.walletId) ?? new WalletQueue(wait.walletId);
  if (queue.length >= MOST_IN_QUEUE) return null;
  return (await queue.join(wait)) as { value: Value } | null;
}

/** The wallet whose closed queue a new request of this name has to join; null when the request may ask at once. */
export function closedQueue(name: () => string): string | null {
  if (queues.byName.size === 0) return null;
  const queue = queues.byName.get(name());
  return queue?.isClosed() === true ? queue.walletId : null;
}

/** To be called when credits were returned to this wallet. */
export function creditsCameBack(walletId: string): void {
  queues.byWallet.get(walletId)?.move();
}

/** Requests that wait for credits in this process. */
export function waitingForCredits(): number {
  return queues.waiting;
}

class WalletQueue {
  readonly walletId: string;
  readonly #waiters: Waiter[] = [];
  readonly #timer: NodeJS.Timeout;
  #moving = false;
  #again = false;

  constructor(walletId: string) {
    this.walletId = walletId;
    this.#timer = setInterval(() => this.move(), POLL_MS);
    queues.byWallet.set(walletId, this);
  }

  get length(): number {
    return this.#waiters.length;
  }

  /** Whether the head has waited for half of its patience, so that no request may pass it. */
  isClosed(): boolean {
    const [first] = this.#waiters;
    return first !== undefined && performance.now() - first.since > first.patienceMs / 2;
  }

  join(wait: Omit<Wait<unknown>, "walletId">): Promise<{ value: unknown } | null> {
    return new Promise((resolve, reject) => {
      const end = () => {
        clearTimeout(timer);
        wait.signal.removeEventListener("abort", giveUp);
        this.#remove(waiter);
      };
      const waiter: Waiter = {
        ...wait,
        since: performance.now(),
        asking: false,
        leave(value) {
          end();
          resolve(value);
        },
        fail(error) {
          end();
          reject(error as Error);
        },
      };
      // A waiter whose ask is in flight may have been served, so it ends after the answer.
      const giveUp = () => {
        if (waiter.asking) waiter.patienceMs = 0;
        else waiter.leave(null);
      };
      const timer = setTimeout(giveUp, wait.patienceMs);
      wait.signal.addEventListener("abort", giveUp, { once: true });
      this.#add(waiter);
      // Credits may have come back between the refusal and now.
      this.move();
    });
  }

  /** Serves the waiters for which there are credits. */
  move(): void {
    if (this.#moving) {
      this.#again = true;
      return;
    }
    this.#moving = true;
    void this.#serve().finally(() => {
      this.#moving = false;
      if (this.#again) {
        this.#again = false;
        this.move();
      }
    });
  }

  async #serve(): Promise<void> {
    const turns = new Set(this.#waiters);
    /** The least that a waiter was told is available; null while every waiter that asked was served. */
    let available: bigint | null = null;
    for (let atOnce = 1; ; ) {
      const asking: Waiter[] = [];
      for (const waiter of this.#waiters) {
        if (asking.length === atOnce) break;
        if (!turns.has(waiter)) {
          if (this.isClosed()) break;
          continue;
        }
        if (available !== null && waiter.needs > available) {
          if (this.isClosed()) break;
          continue;
        }
        asking.push(waiter);
      }
      if (asking.length === 0) return;
      for (const waiter of asking) turns.delete(waiter);
      const left = await Promise.all(asking.map((waiter) => this.#ask(waiter)));
      const short = left.filter((each) => each !== null);
      if (short.length === 0) atOnce = Math.min(2 * atOnce, MOST_AT_ONCE);
      else {
        atOnce = 1;
        available = short.reduce((least, each) => (each < least ? each : least));
      }
    }
  }

  /** The credits that were available when the waiter was not served; null when it was. */
  async #ask(waiter: Waiter): Promise<bigint | null> {
    waiter.asking = true;
    try {
      const asked = await waiter.ask();
      if (asked.kind === "served") {
        waiter.leave({ value: asked.value });
        return null;
      }
      waiter.needs = asked.needs;
      if (waiter.patienceMs === 0) waiter.leave(null);
      return asked.available;
    } catch (error) {
      waiter.fail(error);
      return null;
    } finally {
      waiter.asking = false;
    }
  }

  #add(waiter: Waiter): void {
    const behind = waiter.first === true ? this.#waiters.findIndex(({ first }) => first !== true) : -1;
    if (behind === -1) this.#waiters.push(waiter);
    else this.#waiters.splice(behind, 0, waiter);
    queues.byName.set(waiter.name, this);
    queues.waiting++;
    queues.bytes += waiter.bytes;
  }

  #remove(waiter: Waiter): void {
    const at = this.#waiters.indexOf(waiter);
    if (at === -1) return;
    this.#waiters.splice(at, 1);
    queues.waiting--;
    queues.bytes -= waiter.bytes;
    if (queues.byName.get(waiter.name) === this && !this.#waiters.some(({ name }) => name === waiter.name))
      queues.byName.delete(waiter.name);
    if (this.#waiters.length > 0) return;
    clearInterval(this.#timer);
    queues.byWallet.delete(this.walletId);
  }
}
