import { log } from "../platform/log.ts";

/**
 * Periodic jobs in one queue: they run one after the other, so that they leave connections to
 * requests. A job that fails is logged, and runs again in its next round.
 */
export class Schedule {
  #running: Promise<void> = Promise.resolve();
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #stopping = new AbortController();

  /**
   * Runs `work` every `intervalMs`, first after that time. `work` gets a signal that is aborted when the
   * schedule stops, so that long work can end early. While a round waits or runs, further rounds are
   * skipped.
   */
  every(intervalMs: number, name: string, work: Work): void {
    let waiting = false;
    const timer = setInterval(() => {
      if (waiting) return;
      waiting = true;
      void this.#enter(name, work).finally(() => {
        waiting = false;
      });
    }, intervalMs);
    this.#timers.push(timer.unref());
  }

  /** Runs `work` once, after the jobs that are queued. */
  soon(name: string, work: Work): void {
    void this.#enter(name, work);
  }

  /** Starts no further job; resolves when the running one has ended. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    for (const timer of this.#timers) clearInterval(timer);
    await this.#running;
  }

  #enter(name: string, work: Work): Promise<void> {
    this.#running = this.#running
      .then(() => (this.#stopping.signal.aborted ? undefined : work(this.#stopping.signal)))
      .then(
        () => {},
        (error: unknown) => log.error(`${name} failed`, { error }),
      );
    return this.#running;
  }
}

type Work = (signal: AbortSignal) => Promise<unknown>;
