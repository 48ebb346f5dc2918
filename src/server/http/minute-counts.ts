/**
 * Counts requests by name, in a window of a minute that begins with a name's first request. Memory is bounded: at most
 * `most` names are kept, and the oldest is evicted, so that its count restarts at zero.
 */
export class MinuteCounts {
  readonly #limit: number;
  readonly #most: number;
  readonly #now: () => number;
  /** In the order in which their windows end. */
  readonly #counts = new Map<string, { count: number; endsAt: number }>();

  constructor(limit: number, options: { most?: number; now?: () => number } = {}) {
    this.#limit = limit;
    this.#most = options.most ?? 100_000;
    this.#now = options.now ?? (() => performance.now());
  }

  get size(): number {
    return this.#counts.size;
  }

  /** Counts one request, also one that exceeds the limit. */
  take(name: string) {
    const now = this.#now();
    let entry = this.#counts.get(name);
    if (entry === undefined || entry.endsAt <= now) {
      this.#counts.delete(name);
      this.#evict(now);
      entry = { count: 0, endsAt: now + MINUTE_MS };
      this.#counts.set(name, entry);
    }
    entry.count++;
    return this.#result(entry.count, entry.endsAt - now);
  }

  /** Whether the next request would exceed the limit. Counts nothing. */
  isUsedUp(name: string): boolean {
    const entry = this.#counts.get(name);
    return entry !== undefined && entry.count >= this.#limit && entry.endsAt > this.#now();
  }

  /** Evicts names whose window has ended, and the oldest while there are too many. */
  #evict(now: number): void {
    for (const [name, { endsAt }] of this.#counts) {
      if (endsAt > now && this.#counts.size < this.#most) return;
      this.#counts.delete(name);
    }
  }

  #result(count: number, msLeft: number) {
    return {
      counts: this as MinuteCounts,
      limit: this.#limit,
      remaining: Math.max(0, this.#limit - count),
      exceeded: count > this.#limit,
      msLeft,
    };
  }
}

const MINUTE_MS = 60_000;
