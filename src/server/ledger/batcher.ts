import { isAboutOneItem } from "./contended.ts";

/** Runs a batch in one statement and one commit; resolves with the items' answers, in their order. */
export type BatchRun<Item, Answer> = (items: readonly Item[]) => Promise<Answer[]>;

export class QueueFullError extends Error {
  constructor() {
    super("the queue is full");
    this.name = "QueueFullError";
  }
}

const MOST_TURNS = 3;
const SMALL_BATCH = 8;

type Waiting<Item, Answer> = { item: Item; resolve(answer: Answer): void; reject(error: unknown): void };

/**
 * Items that are pushed while a batch runs go together in the next one; each has its own answer. A batch begins when
 * the one before has committed.
 */
export class Batcher<Item, Answer> {
  readonly #run: BatchRun<Item, Answer>;
  readonly #maxBatch: number;
  readonly #maxWaiting: number;
  #waiting: Waiting<Item, Answer>[] = [];
  #busy = false;

  constructor(run: BatchRun<Item, Answer>, options: { maxBatch?: number; maxWaiting?: number } = {}) {
    this.#run = run;
    this.#maxBatch = options.maxBatch ?? 128;
    this.#maxWaiting = options.maxWaiting ?? 10_000;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /**
   * Resolves with the item's answer once its batch has committed. Throws QueueFullError
   * when `maxWaiting` items wait; with `always` it does not.
   */
  push(item: Item, { always = false }: { always?: boolean } = {}): Promise<Answer> {
    if (!always && this.#waiting.length >= this.#maxWaiting) return Promise.reject(new QueueFullError());
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject });
      this.#wake();
    });
  }

  #wake(): void {
    if (this.#busy || this.#waiting.length === 0) return;
    this.#busy = true;
    setImmediate(() => this.#gather(MOST_TURNS));
  }

  /**
   * A batch is taken after the current turn of the event loop, with the items of that turn;
   * otherwise batches are half as large. A small batch waits for two more turns: under load
   * they are long and bring more items, without load they end at once.
   */
  #gather(turns: number): void {
    if (turns > 1 && this.#waiting.length < SMALL_BATCH) setImmediate(() => this.#gather(turns - 1));
    else void this.#next();
  }

  async #next(): Promise<void> {
    const batch = this.#waiting.splice(0, this.#maxBatch);
    try {
      this.#answer(batch, await this.#run(batch.map((each) => each.item)));
    } catch (error) {
      if (batch.length > 1 && isAboutOneItem(error)) await this.#oneByOne(batch);
      else for (const each of batch) each.reject(error);
    } finally {
      this.#busy = false;
      this.#wake();
    }
  }

  #answer(batch: readonly Waiting<Item, Answer>[], answers: readonly Answer[]): void {
    if (answers.length !== batch.length) throw new Error(`${answers.length} answers for ${batch.length} items`);
    batch.forEach((each, index) => {
      each.resolve(answers[index] as Answer);
    });
  }

  /** The failed statement was rolled back, so each item is run alone, and only the faulty one fails. */
  async #oneByOne(batch: readonly Waiting<Item, Answer>[]): Promise<void> {
    for (const each of batch) {
      try {
        this.#answer([each], await this.#run([each.item]));
      } catch (error) {
        each.reject(error);
      }
    }
  }
}
