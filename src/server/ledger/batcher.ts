import { isAboutOneItem } from "./contended.ts";

/**
 * Requests that arrive while a statement is under way go together in the next
 * one: one commit for all of them, each with an answer of its own.
 */
export type BatchRun<Item, Answer> = (items: readonly Item[]) => Promise<Answer[]>;

export class QueueFullError extends Error {
  constructor() {
    super("the queue is full");
    this.name = "QueueFullError";
  }
}

const MOST_TURNS = 3;
const SMALL = 8;

type Waiting<Item, Answer> = { item: Item; resolve(answer: Answer): void; reject(error: unknown): void };

export class Batcher<Item, Answer> {
  readonly #run: BatchRun<Item, Answer>;
  readonly #maxBatch: number;
  readonly #maxWaiting: number;
  #waiting: Waiting<Item, Answer>[] = [];
  #busy = false;

  /** One lane: a batch begins when the one before has committed. */
  constructor(run: BatchRun<Item, Answer>, options: { maxBatch?: number; maxWaiting?: number } = {}) {
    this.#run = run;
    this.#maxBatch = options.maxBatch ?? 128;
    this.#maxWaiting = options.maxWaiting ?? 10_000;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /**
   * Resolves with the item's own answer once its batch has committed. Throws
   * QueueFullError instead of growing without end, unless the item may not be refused.
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
   * What this turn of the event loop brings comes along; without it batches are half as
   * large. A small batch waits for two turns more: where there is much to do they take
   * long and bring more, where there is little they are over at once.
   */
  #gather(turns: number): void {
    if (turns > 1 && this.#waiting.length < SMALL) setImmediate(() => this.#gather(turns - 1));
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

  /** One bad item must not fail the others: the statement changed nothing, so each may try alone. */
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
