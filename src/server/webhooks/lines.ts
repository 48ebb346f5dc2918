/** Requests to one endpoint at a time; what else is taken of it waits its turn. */
export const REQUESTS_TO_ONE = 8;

/** What one process has of one endpoint. */
type Line = {
  /** Deliveries taken and not ended. */
  taken: number;
  requests: number;
  waiting: (() => void)[];
  /** Something was taken since the last look on its behalf, so there may be more. */
  mayHaveMore: boolean;
  /** When the receiver last said that nothing more is to be sent. */
  sentAwayAt: number;
};

/** The line of each endpoint that this process has something of. */
export class Lines {
  readonly #lines = new Map<string, Line>();
  readonly #wake: () => void;

  /** `wake`: there is room for more of an endpoint of which there may be more. */
  constructor(wake: () => void) {
    this.#wake = wake;
  }

  /** How many more may be taken of each endpoint that something was taken of, when `most` may be of one. */
  room(most: number): Map<string, number> {
    return new Map([...this.#lines].map(([endpointId, { taken }]) => [endpointId, Math.max(most - taken, 0)]));
  }

  /** Something of this endpoint was taken. */
  noteTaken(endpointId: string): void {
    this.#lineOf(endpointId).mayHaveMore = true;
  }

  /** The receiver of this endpoint said that nothing more is to be sent, and that is written down. */
  noteSentAway(endpointId: string, at: number): void {
    this.#lineOf(endpointId).sentAwayAt = at;
  }

  sentAwaySince(endpointId: string, time: number): boolean {
    return this.#lineOf(endpointId).sentAwayAt >= time;
  }

  /** Nobody waits for a turn any more. */
  letAllGoOn(): void {
    for (const line of this.#lines.values()) for (const goOn of line.waiting.splice(0)) goOn();
  }

  #lineOf(endpointId: string): Line {
    let line = this.#lines.get(endpointId);
    if (line === undefined) {
      line = { taken: 0, requests: 0, waiting: [], mayHaveMore: false, sentAwayAt: Number.NEGATIVE_INFINITY };
      this.#lines.set(endpointId, line);
    }
    return line;
  }

  /** Runs work when fewer than the most run for this endpoint. */
  async run<T>(endpointId: string, work: () => Promise<T>): Promise<T> {
    const line = this.#lineOf(endpointId);
    line.taken++;
    if (line.requests >= REQUESTS_TO_ONE) await new Promise<void>((resolve) => line.waiting.push(resolve));
    else line.requests++;
    try {
      return await work();
    } finally {
      // Whoever is next takes the place over.
      const next = line.waiting.shift();
      if (next === undefined) line.requests--;
      else next();
    }
  }

  /** When most of what was taken of an endpoint has ended, there is room for more of it. */
  leave(endpointId: string): void {
    const line = this.#lineOf(endpointId);
    line.taken--;
    if (line.mayHaveMore && line.taken <= REQUESTS_TO_ONE) {
      line.mayHaveMore = false;
      this.#wake();
    }
    if (line.taken === 0) this.#lines.delete(endpointId);
  }
}
