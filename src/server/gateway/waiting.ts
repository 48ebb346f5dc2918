import { processWide } from "../platform/process-wide.ts";

/**
 * Where requests wait for credits that requests under way hold. One line for each
 * wallet, in order of arrival; a line moves when a request of this process gives
 * credits back, and every second for what other processes give back.
 *
 * Whoever needs little may pass somebody who needs much, but only during the first
 * half of the other's patience: after that nobody does, also not who has just come.
 */

/** What asking for credits came to. */
export type Asked<Value> =
  | { kind: "served"; value: Value }
  | {
      kind: "short";
      /** Credits that would be enough. */
      needs: bigint;
      /** Credits that could be had at that moment; less than `needs`. */
      available: bigint;
    };

export type Wait<Value> = {
  walletId: string;
  /** Who asks, as far as it is known before asking: others of the same name join the line when it is closed to them. */
  name: string;
  /** Credits that would be enough. */
  needs: bigint;
  /** The longest wait, in milliseconds. */
  patienceMs: number;
  /** What waiting keeps in memory. */
  bytes: number;
  /** Asks for the credits. Nobody else of the line asks before its turn is over. */
  ask: () => Promise<Asked<Value>>;
  /** Ends the wait. */
  signal: AbortSignal;
  /** For a request that is already under way: it goes before those that have not begun. */
  first?: boolean;
};

type Waiter = Omit<Wait<unknown>, "walletId"> & {
  since: number;
  asking: boolean;
  /** Ends the wait, with what was had or with nothing. */
  leave(value: { value: unknown } | null): void;
  fail(error: unknown): void;
};

/** A second for other processes; a settlement in this one is heard of at once. */
const POLL_MS = 1_000;
/** Requests of a line that ask together, so that they share a commit. */
const MOST_TOGETHER = 16;
/** A wallet with more waiting than this is refused; all of them together hold memory. */
const MOST_IN_LINE = 512;
const MOST_WAITING = 2_048;
const MOST_BYTES = 64 * 1024 * 1024;

type WalletQueues = { byWallet: Map<string, WalletQueue>; byName: Map<string, WalletQueue>; waiting: number; bytes: number };

const lines = processWide("lines for credits", (): WalletQueues => ({ byWallet: new Map(), byName: new Map(), waiting: 0, bytes: 0 }));

/**
 * Waits until `ask` is served, and resolves with its value; with null when the patience is
 * over, the signal aborts, or too many wait already. Throws what `ask` throws.
 */
export async function waitForCredits<Value>(wait: Wait<Value>): Promise<{ value: Value } | null> {
  if (wait.patienceMs <= 0 || wait.signal.aborted) return null;
  if (lines.waiting >= MOST_WAITING || lines.bytes + wait.bytes > MOST_BYTES) return null;
  const line = lines.byWallet.get(wait.walletId) ?? new WalletQueue(wait.walletId);
  if (line.length >= MOST_IN_LINE) return null;
  return (await line.join(wait)) as { value: Value } | null;
}

/** The wallet whose line is closed to who has just come under this name, or null: then they may ask at once. */
export function closedLine(name: () => string): string | null {
  if (lines.byName.size === 0) return null;
  const line = lines.byName.get(name());
  return line?.isClosed() === true ? line.walletId : null;
}

/** To be called when a request gave back credits of this wallet. */
export function creditsCameBack(walletId: string): void {
  lines.byWallet.get(walletId)?.move();
}

/** Requests that wait for credits in this process. */
export function waitingForCredits(): number {
  return lines.waiting;
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
    lines.byWallet.set(walletId, this);
  }

  get length(): number {
    return this.#waiters.length;
  }

  /** Whether the first has waited for so long that nobody may pass any more. */
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
      // Whoever is asking hears the answer first: it may have been served.
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

  /** Serves whoever can be served. */
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
    /** What is known to be there; null while all who asked were served. */
    let available: bigint | null = null;
    for (let together = 1; ; ) {
      const asking: Waiter[] = [];
      for (const waiter of this.#waiters) {
        if (asking.length === together) break;
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
      if (short.length === 0) together = Math.min(2 * together, MOST_TOGETHER);
      else {
        together = 1;
        available = short.reduce((least, each) => (each < least ? each : least));
      }
    }
  }

  /** What was left for others when this one could not be served; null when it was. */
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
    lines.byName.set(waiter.name, this);
    lines.waiting++;
    lines.bytes += waiter.bytes;
  }

  #remove(waiter: Waiter): void {
    const at = this.#waiters.indexOf(waiter);
    if (at === -1) return;
    this.#waiters.splice(at, 1);
    lines.waiting--;
    lines.bytes -= waiter.bytes;
    if (lines.byName.get(waiter.name) === this && !this.#waiters.some(({ name }) => name === waiter.name)) lines.byName.delete(waiter.name);
    if (this.#waiters.length > 0) return;
    clearInterval(this.#timer);
    lines.byWallet.delete(this.walletId);
  }
}
