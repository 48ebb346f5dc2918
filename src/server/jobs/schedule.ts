import { log } from "../platform/log.ts";

/**
 * Work that has to be done every now and then, in one queue: one piece after the
 * other, so that it never crowds out requests. A piece that fails is logged, and
 * comes round again.
 */
export class Schedule {
  #running: Promise<void> = Promise.resolve();
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #stopping = new AbortController();

  /**
   * Runs `work` every `intervalMs`, beginning in that time. What takes long ends early when the
   * signal it gets says that the schedule stops. Its rounds do not pile up behind one that takes long.
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

  /** Runs `work` once, after what is waiting already. */
  soon(name: string, work: Work): void {
    void this.#enter(name, work);
  }

  /** Begins nothing more; resolves when what is under way has ended. */
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
