/** Requests that one process sends to one endpoint at a time. Leased deliveries beyond that wait in the endpoint's queue. */
export const REQUESTS_PER_ENDPOINT = 8;

type EndpointQueue = {
  /** Deliveries that this process has leased and not finished. */
  leased: number;
  requests: number;
  waiting: (() => void)[];
  /** Deliveries were leased since `wake` was last called for this endpoint, so more may be due. */
  mayHaveMore: boolean;
  /** When the receiver last answered 410, or 429 or 503 with Retry-After. */
  stoppedAt: number;
};

/** One queue for each endpoint of which this process has leased deliveries. */
export class EndpointQueues {
  readonly #queues = new Map<string, EndpointQueue>();
  readonly #wake: () => void;

  /** `wake` is called when an endpoint that may have more deliveries due has room for them. */
  constructor(wake: () => void) {
    this.#wake = wake;
  }

  /** How many more deliveries may be leased of each endpoint that has a queue, when one endpoint may have `most`. */
  room(most: number): Map<string, number> {
    return new Map([...this.#queues].map(([endpointId, { leased }]) => [endpointId, Math.max(most - leased, 0)]));
  }

  noteTaken(endpointId: string): void {
    this.#queueOf(endpointId).mayHaveMore = true;
  }

  /** To be called after the pause or the end of the endpoint is committed: `stoppedSince` makes couriers read its row again. */
  noteStopped(endpointId: string, at: number): void {
    this.#queueOf(endpointId).stoppedAt = at;
  }

  stoppedSince(endpointId: string, time: number): boolean {
    return this.#queueOf(endpointId).stoppedAt >= time;
  }

  /** Runs all waiting work at once, beyond the most per endpoint: a courier that stops sends none of it. */
  resumeAll(): void {
    for (const queue of this.#queues.values()) for (const resume of queue.waiting.splice(0)) resume();
  }

  #queueOf(endpointId: string): EndpointQueue {
    let queue = this.#queues.get(endpointId);
    if (queue === undefined) {
      queue = { leased: 0, requests: 0, waiting: [], mayHaveMore: false, stoppedAt: Number.NEGATIVE_INFINITY };
      this.#queues.set(endpointId, queue);
    }
    return queue;
  }

  /** Runs work when fewer than `REQUESTS_PER_ENDPOINT` run for this endpoint. */
  async run<T>(endpointId: string, work: () => Promise<T>): Promise<T> {
    const queue = this.#queueOf(endpointId);
    queue.leased++;
    if (queue.requests >= REQUESTS_PER_ENDPOINT) await new Promise<void>((resolve) => queue.waiting.push(resolve));
    else queue.requests++;
    try {
      return await work();
    } finally {
      // The next work takes this place, so `requests` stays as it is.
      const next = queue.waiting.shift();
      if (next === undefined) queue.requests--;
      else next();
    }
  }

  /** Notes that a delivery is finished. Wakes the courier when `REQUESTS_PER_ENDPOINT` are left and more may be due. */
  noteEnded(endpointId: string): void {
    const queue = this.#queueOf(endpointId);
    queue.leased--;
    if (queue.mayHaveMore && queue.leased <= REQUESTS_PER_ENDPOINT) {
      queue.mayHaveMore = false;
      this.#wake();
    }
    if (queue.leased === 0) this.#queues.delete(endpointId);
  }
}
