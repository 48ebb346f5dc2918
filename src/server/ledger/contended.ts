import { log } from "../platform/log.ts";

/** Another session kept an account locked for longer than its requests may wait. Nothing was committed. */
export class AccountLockedError extends Error {
  readonly accountId: string;

  constructor(accountId: string, options?: ErrorOptions) {
    super(`account ${accountId} is locked by another session`, options);
    this.name = "AccountLockedError";
    this.accountId = accountId;
  }
}

type Waiting<Item, Answer> = { item: Item; since: number; resolve(answer: Answer): void; reject(error: unknown): void };
type Queue<Item, Answer> = { accountId: string; waiting: Waiting<Item, Answer>[] };

/**
 * Holds and settlements that found their account locked by another session. Each account has a queue, served by one of a
 * few lanes (connections) that wait for locks, so a locked account delays only its own items. When the lock is not
 * granted in time, the account is set aside for `asideMs`: its items are refused at once and do not occupy a lane.
 */
export class Contended<Item, Answer> {
  readonly #run: (items: readonly Item[]) => Promise<Answer[]>;
  readonly #lanes: number;
  readonly #maxBatch: number;
  readonly #maxWaiting: number;
  readonly #asideMs: number;
  readonly #patienceMs: number;
  readonly #queues: Queue<Item, Answer>[] = [];
  readonly #byAccount = new Map<string, Queue<Item, Answer>>();
  readonly #aside = new Map<string, number>();
  #busy = 0;
  #waiting = 0;

  /** `run` waits for locks, and throws SQLSTATE 55P03 after its lock timeout; up to `lanes` calls run at once. */
  constructor(
    run: (items: readonly Item[]) => Promise<Answer[]>,
    options: { lanes?: number; maxBatch?: number; maxWaiting?: number; asideMs?: number; patienceMs?: number } = {},
  ) {
    this.#run = run;
    this.#lanes = options.lanes ?? 2;
    this.#maxBatch = options.maxBatch ?? 128;
    this.#maxWaiting = options.maxWaiting ?? 2_000;
    this.#asideMs = options.asideMs ?? 5_000;
    this.#patienceMs = options.patienceMs ?? 5_000;
  }

  /**
   * Resolves with the item's answer once it has committed. Throws AccountLockedError, and nothing was committed, when the
   * account is set aside, the lock is not granted, the item waited for `patienceMs`, or `maxWaiting` items wait.
   */
  push(accountId: string, item: Item): Promise<Answer> {
    if (this.#isAside(accountId) || this.#waiting >= this.#maxWaiting) return Promise.reject(new AccountLockedError(accountId));
    return new Promise((resolve, reject) => {
      let queue = this.#byAccount.get(accountId);
      if (queue === undefined) {
        queue = { accountId, waiting: [] };
        this.#byAccount.set(accountId, queue);
        this.#queues.push(queue);
      }
      queue.waiting.push({ item, since: performance.now(), resolve, reject });
      this.#waiting++;
      this.#wake();
    });
  }

  #isAside(accountId: string): boolean {
    const until = this.#aside.get(accountId);
    if (until === undefined) return false;
    if (until > performance.now()) return true;
    this.#aside.delete(accountId);
    return false;
  }

  #wake(): void {
    while (this.#busy < this.#lanes) {
      const queue = this.#queues.shift();
      if (queue === undefined) return;
      this.#busy++;
      void this.#serve(queue).finally(() => {
        this.#busy--;
        this.#wake();
      });
    }
  }

  /** Runs one batch of an account. Items that arrived during it wait until each other account in the queue had a batch. */
  async #serve(queue: Queue<Item, Answer>): Promise<void> {
    const { accountId } = queue;
    const batch = queue.waiting.splice(0, this.#maxBatch);
    this.#waiting -= batch.length;
    const late = performance.now() - this.#patienceMs;
    const inTime = batch.filter(({ since }) => since >= late);
    for (const each of batch) if (each.since < late) each.reject(new AccountLockedError(accountId));
    try {
      if (inTime.length > 0) await this.#together(inTime);
    } catch (error) {
      if (isLockTimeout(error)) {
        this.#setAside(accountId);
        for (const each of [...inTime, ...this.#drop(queue)]) each.reject(new AccountLockedError(accountId, { cause: error }));
      } else if (inTime.length > 1 && isAboutOneItem(error)) {
        await this.#oneByOne(accountId, inTime);
      } else {
        for (const each of inTime) each.reject(error);
      }
    }
    if (queue.waiting.length > 0) this.#queues.push(queue);
    else this.#byAccount.delete(accountId);
  }

  async #together(batch: readonly Waiting<Item, Answer>[]): Promise<void> {
    const answers = await this.#run(batch.map(({ item }) => item));
    if (answers.length !== batch.length) throw new Error(`${answers.length} answers for ${batch.length} items`);
    batch.forEach((each, index) => {
      each.resolve(answers[index] as Answer);
    });
  }

  /** The failed statement was rolled back, so each item is run alone, and only the faulty one fails. */
  async #oneByOne(accountId: string, batch: readonly Waiting<Item, Answer>[]): Promise<void> {
    for (const each of batch) {
      try {
        await this.#together([each]);
      } catch (error) {
        if (isLockTimeout(error)) this.#setAside(accountId);
        each.reject(isLockTimeout(error) ? new AccountLockedError(accountId, { cause: error }) : error);
      }
    }
  }

  #drop(queue: Queue<Item, Answer>): Waiting<Item, Answer>[] {
    const rest = queue.waiting.splice(0);
    this.#waiting -= rest.length;
    return rest;
  }

  #setAside(accountId: string): void {
    const now = performance.now();
    for (const [id, until] of this.#aside) if (until <= now) this.#aside.delete(id);
    if (!this.#aside.has(accountId)) log.warn("an account is locked by another session", { account_id: accountId });
    this.#aside.set(accountId, now + this.#asideMs);
  }
}

export const isLockTimeout = (error: unknown) => codeOf(error) === "55P03";

/**
 * Whether an error may come from a single item of a batch, whose statement was rolled back: data errors (SQLSTATE class
 * 22), integrity errors (class 23), a lock timeout (55P03), a statement timeout (57014) or a deadlock (40P01). After a
 * lost connection it is unknown what was committed, so the batch is not repeated.
 */
export function isAboutOneItem(error: unknown): boolean {
  return /^(2[23]|55P03|57014|40P01)/.test(codeOf(error));
}

/** SQLSTATE of an error; empty without one. Prisma's errors have a code of Prisma's own and the SQLSTATE in `meta`. */
export function codeOf(error: unknown): string {
  const { code, meta } = (error ?? {}) as { code?: unknown; meta?: { driverAdapterError?: { cause?: { originalCode?: unknown } } } };
  const original = meta?.driverAdapterError?.cause?.originalCode;
  return typeof original === "string" ? original : typeof code === "string" ? code : "";
}
