import { log } from "../platform/log.ts";

/** Somebody else has kept an account locked for longer than its requests may wait. Nothing was committed. */
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
 * What needs an account that was locked when its batch came by. Each account has a queue,
 * served by one of a few lanes that wait for locks, so whoever keeps one account locked
 * delays nobody else's. An account whose lock does not come in time is set aside: what
 * arrives for it meanwhile is refused at once instead of keeping a lane busy.
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

  /** `run` waits for locks, and throws SQLSTATE 55P03 when it waited too long; it may be called `lanes` times at once. */
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

  /** Resolves with the item's own answer once it has committed. Throws AccountLockedError, and then nothing was done. */
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

  /** One account at a time has a lane; what came meanwhile goes to the end of the line. */
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

  /** The statement changed nothing, and one of its items is to blame: the others get their answers. */
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
 * Data errors (SQLSTATE class 22) and integrity errors (class 23) come from a value, a
 * lock timeout (55P03), a statement timeout (57014) or a deadlock (40P01) from what one
 * item met; the whole statement was rolled back. After a lost connection nobody knows what was committed, so
 * nothing is repeated.
 */
export function isAboutOneItem(error: unknown): boolean {
  return /^(2[23]|55P03|57014|40P01)/.test(codeOf(error));
}

/** SQLSTATE of an error, of a statement of the ledger or of a transaction by Prisma, which has its own codes and this within. */
export function codeOf(error: unknown): string {
  const { code, meta } = (error ?? {}) as { code?: unknown; meta?: { driverAdapterError?: { cause?: { originalCode?: unknown } } } };
  const original = meta?.driverAdapterError?.cause?.originalCode;
  return typeof original === "string" ? original : typeof code === "string" ? code : "";
}
