import { AppError } from "../platform/errors.ts";

type Limits = { atATime: number; mostWaitingPerKey: number; mostWaiting: number };

/** Runs at most `atATime` jobs at a time. Keys are served round-robin. */
export class BoundedQueue {
  readonly #limits: Limits;
  readonly #waiting = new Map<string, (() => Promise<void>)[]>();
  #count = 0;
  #running = 0;

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  /** Runs a job when its turn comes. Throws `overloaded` when the queue is full for this key or for all, and what the job throws. */
  run<T>(key: string, job: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const queued = this.#waiting.get(key) ?? [];
      if (queued.length >= this.#limits.mostWaitingPerKey || this.#count >= this.#limits.mostWaiting)
        return reject(new AppError("overloaded", { headers: { "retry-after": "1" } }));
      queued.push(() => job().then(resolve, reject));
      this.#waiting.set(key, queued);
      this.#count++;
      this.#next();
    });
  }

  #next(): void {
    if (this.#running >= this.#limits.atATime) return;
    const [key, jobs] = this.#waiting.entries().next().value ?? [];
    const job = jobs?.shift();
    if (key === undefined || jobs === undefined || job === undefined) return;
    // The key's other jobs go behind those of the other keys.
    this.#waiting.delete(key);
    if (jobs.length > 0) this.#waiting.set(key, jobs);
    this.#count--;
    this.#running++;
    void job().finally(() => {
      this.#running--;
      this.#next();
    });
  }
}
