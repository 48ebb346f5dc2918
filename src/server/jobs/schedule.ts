import { log } from "../platform/log.ts";

/**
 * Work that has to be done every now and then, in one queue: one piece after the
 * other, so that it never crowds out requests. A piece that fails is logged, and
 * comes round again.
 */
export class Schedule {
  #running: Promise<void> = Promise.resolve();
  readonly #timers: NodeJS.Timeout[] = [];
  #stopped = false;

  /** Runs `work` every `intervalMs`, beginning in that time. Its rounds do not pile up behind one that takes long. */
  every(intervalMs: number, name: string, work: () => Promise<unknown>): void {
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
  soon(name: string, work: () => Promise<unknown>): void {
    void this.#enter(name, work);
  }

  /** Begins nothing more; resolves when what is under way has ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const timer of this.#timers) clearInterval(timer);
    await this.#running;
  }

  #enter(name: string, work: () => Promise<unknown>): Promise<void> {
    this.#running = this.#running
      .then(() => (this.#stopped ? undefined : work()))
      .then(
        () => {},
        (error: unknown) => log.error(`${name} failed`, { error }),
      );
    return this.#running;
  }
}
