/**
 * Counts by name, each for a minute from its first. Takes bounded memory: of more than `most` names that have a running
 * minute the oldest is forgotten, and begins anew.
 */
export class MinuteCounts {
  readonly #limit: number;
  readonly #most: number;
  readonly #now: () => number;
  /** In the order in which their minutes end. */
  readonly #counts = new Map<string, { count: number; endsAt: number }>();

  constructor(limit: number, options: { most?: number; now?: () => number } = {}) {
    this.#limit = limit;
    this.#most = options.most ?? 100_000;
    this.#now = options.now ?? (() => performance.now());
  }

  get size(): number {
    return this.#counts.size;
  }

  /** Counts one more. */
  take(name: string) {
    const now = this.#now();
    let entry = this.#counts.get(name);
    if (entry === undefined || entry.endsAt <= now) {
      this.#counts.delete(name);
      this.#forget(now);
      entry = { count: 0, endsAt: now + MINUTE_MS };
      this.#counts.set(name, entry);
    }
    entry.count++;
    return this.#tell(entry.count, entry.endsAt - now);
  }

  /** Whether one more would be too many; it is not counted. */
  isUsedUp(name: string): boolean {
    const entry = this.#counts.get(name);
    return entry !== undefined && entry.count >= this.#limit && entry.endsAt > this.#now();
  }

  /** What is over, and the oldest of what is too much. */
  #forget(now: number): void {
    for (const [name, { endsAt }] of this.#counts) {
      if (endsAt > now && this.#counts.size < this.#most) return;
      this.#counts.delete(name);
    }
  }

  #tell(count: number, msLeft: number) {
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
