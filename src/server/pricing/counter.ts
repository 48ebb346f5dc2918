import { existsSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { log } from "../platform/log.ts";
import { cutIntoPieces, loadTokenizer, PIECE_UNITS, type Tokenizer } from "./bpe.ts";
import { estimate, type Piece, piecesOf, randomSample, runInTurns, sum, unitsOf } from "./pieces.ts";
import type { Done } from "./token-worker.ts";

// Tokenizing in this process: one worker thread takes pieces of at most about 30 ms from bounded queues. There is a queue,
// called lane, for each app, and the lanes take turns by the piece, so that a long text of one app delays the others by
// one piece at a time. Texts are tokenized on the main thread only when no thread can be started.

export type CountOptions = {
  /** The queue in which it waits: an app's id. */
  lane?: string;
  /**
   * `bill`, the default, always returns a number: of more than a mebibyte a sample is counted, and what can't
   * be counted in time, or finds its queue full, is estimated by its bytes. `ask` counts all of it, and throws
   * TooBusyToCountError in these cases: for callers that can refuse their request.
   */
  purpose?: "ask" | "bill";
};

/** The queue is full, or the time for counting is over; a retry in a few seconds may succeed. */
export class TooBusyToCountError extends Error {
  constructor() {
    super("There is more to tokenize than can be done in time.");
    this.name = "TooBusyToCountError";
  }
}

type Limits = {
  /** UTF-16 units that may wait in one lane, when a count with purpose `ask` is added. */
  laneUnits: number;
  /** The same for purpose `bill`; higher, because the credits on hold bound these texts already. */
  laneBillUnits: number;
  /** Units that may wait in all lanes. */
  units: number;
  /** Units up to which one call with purpose `bill` counts everything instead of a sample. */
  wholeUnits: number;
  askMs: number;
  billMs: number;
  /** The thread is replaced when a piece takes longer. */
  pieceMs: number;
  startMs: number;
};

const LIMITS: Limits = {
  laneUnits: 16 * 1024 * 1024,
  laneBillUnits: 64 * 1024 * 1024,
  units: 256 * 1024 * 1024,
  wholeUnits: 1024 * 1024,
  askMs: 10_000,
  // Less than the minute for which a hold outlives the longest request.
  billMs: 30_000,
  pieceMs: 10_000,
  startMs: 60_000,
};

/** Pieces that are with the thread at once, so that it need not wait for the main thread between two of them. */
const MOST_IN_FLIGHT = 2;

type Job = {
  lane: string;
  pieces: readonly Piece[];
  /** Index of the first piece that has not been sent. */
  next: number;
  /** Pieces that have no result yet. */
  left: number;
  /** UTF-16 units of the pieces that have not been sent. */
  units: number;
  purpose: "ask" | "bill";
  done: Done[];
  settled: boolean;
  timer: NodeJS.Timeout;
  resolve(done: Done[]): void;
  reject(error: Error): void;
};

type Flight = { job: Job; index: number; attempts: number };

export class TokenCounter {
  readonly #limits: Limits;
  readonly #startWorker: () => Worker;
  /** In the order of their next turns. */
  readonly #lanes = new Map<string, Job[]>();
  readonly #laneUnits = new Map<string, number>();
  #units = 0;
  /** Pieces that were with a thread that ended; they are sent first, once more. */
  readonly #retries: Flight[] = [];
  readonly #inFlight = new Map<number, Flight>();
  #nextId = 1;
  #worker: Worker | null = null;
  #ready = false;
  /** Set when no thread could be started: then the main thread does the work, in short turns. */
  #fallback: Promise<Tokenizer> | null = null;
  #watch: NodeJS.Timeout | undefined;

  constructor(options: Partial<Limits> & { startWorker?: () => Worker } = {}) {
    const { startWorker = startTokenWorker, ...limits } = options;
    this.#startWorker = startWorker;
    this.#limits = { ...LIMITS, ...limits };
  }

  /** The tokens of all these texts together. */
  async count(texts: readonly string[], { lane = "", purpose = "bill" }: CountOptions = {}): Promise<number> {
    const pieces = piecesOf(texts);
    if (pieces.length === 0) return 0;
    const units = unitsOf(pieces);
    if (purpose === "ask" || units <= this.#limits.wholeUnits) return sum(await this.#run(pieces, units, lane, purpose));
    // Random pieces, so that a client can't choose which of its text is counted.
    const sample = randomSample(pieces, Math.ceil(this.#limits.wholeUnits / PIECE_UNITS));
    const sampled = unitsOf(sample);
    return Math.round((sum(await this.#run(sample, sampled, lane, purpose)) * units) / sampled);
  }

  /**
   * An upper bound of the tokens that another tokenizer than o200k_base makes of these texts; see `closerBound`.
   * @throws TooBusyToCountError when the queue is full or the time is over.
   */
  async bound(texts: readonly string[], margin: number, lane = ""): Promise<number> {
    const pieces = piecesOf(texts, margin);
    return Math.ceil(sum(await this.#run(pieces, unitsOf(pieces), lane, "ask")));
  }

  /** The tokens of a text, for the simulator, without those of pieces that could not be encoded. */
  async encode(text: string, lane = ""): Promise<number[]> {
    const pieces = cutIntoPieces(text).map((piece): Piece => ({ kind: "encode", text: piece }));
    const done = await this.#run(pieces, text.length, lane, "bill");
    return done.flatMap(({ tokens }) => tokens ?? []);
  }

  /** The bytes of tokens, for the simulator; null for a number that is no token. */
  async bytes(tokens: readonly number[], lane = ""): Promise<(Uint8Array | null)[]> {
    const [done] = await this.#run([{ kind: "bytes", tokens }], tokens.length, lane, "bill");
    return done?.bytes ?? tokens.map(() => null);
  }

  /** Ends the thread; pieces that are with it are treated as after a crash. */
  async close(): Promise<void> {
    await this.#worker?.terminate();
  }

  #run(pieces: readonly Piece[], units: number, lane: string, purpose: "ask" | "bill"): Promise<Done[]> {
    if (pieces.length === 0) return Promise.resolve([]);
    return new Promise((resolve, reject) => {
      const waiting = (this.#laneUnits.get(lane) ?? 0) + units;
      const ms = purpose === "ask" ? this.#limits.askMs : this.#limits.billMs;
      const timer = setTimeout(() => this.#giveUp(job), ms);
      const job: Job = { lane, pieces, next: 0, left: pieces.length, units: 0, purpose, done: [], settled: false, timer, resolve, reject };
      if (waiting > (purpose === "ask" ? this.#limits.laneUnits : this.#limits.laneBillUnits) || this.#units + units > this.#limits.units)
        return this.#giveUp(job);
      job.units = units;
      this.#units += units;
      this.#laneUnits.set(lane, waiting);
      const queue = this.#lanes.get(lane);
      if (queue === undefined) this.#lanes.set(lane, [job]);
      else queue.push(job);
      this.#dispatch();
    });
  }

  /** When the time is over or the queue is full: rejects with purpose `ask`, estimates the missing pieces with `bill`. */
  #giveUp(job: Job): void {
    if (job.settled) return;
    if (job.purpose === "bill") {
      log.warn("tokens estimated", { app: job.lane, pieces: job.left });
      for (const [index, piece] of job.pieces.entries()) job.done[index] ??= estimate(piece);
    }
    this.#settle(job, job.purpose === "ask" ? new TooBusyToCountError() : null);
  }

  #settle(job: Job, error: Error | null): void {
    job.settled = true;
    clearTimeout(job.timer);
    this.#release(job, job.units);
    const queue = this.#lanes.get(job.lane);
    const at = queue?.indexOf(job) ?? -1;
    if (at !== -1) queue?.splice(at, 1);
    if (queue?.length === 0) this.#lanes.delete(job.lane);
    if (error === null) job.resolve(job.done);
    else job.reject(error);
  }

  /** Sends pieces up to MOST_IN_FLIGHT. */
  #dispatch(): void {
    if (this.#fallback !== null) {
      this.#runFallback();
      return;
    }
    if (this.#worker === null) this.#start();
    if (!this.#ready) return;
    while (this.#inFlight.size < MOST_IN_FLIGHT) {
      const flight = this.#nextFlight();
      if (flight === null) break;
      this.#send(flight);
    }
    // An idle thread must not keep the process from exiting.
    if (this.#inFlight.size === 0) this.#worker?.unref();
    else this.#worker?.ref();
  }

  /** The next piece: a retry, or one of the lane whose turn it is. */
  #nextFlight(): Flight | null {
    for (let flight = this.#retries.shift(); flight !== undefined; flight = this.#retries.shift()) if (!flight.job.settled) return flight;
    for (let lanes = this.#lanes.size; lanes > 0; lanes--) {
      const [lane, queue] = this.#lanes.entries().next().value as [string, Job[]];
      this.#lanes.delete(lane);
      this.#lanes.set(lane, queue);
      const job = queue.find(({ next, pieces }) => next < pieces.length);
      if (job === undefined) continue;
      const index = job.next++;
      this.#release(job, unitsOf([job.pieces[index] as Piece]));
      return { job, index, attempts: 0 };
    }
    return null;
  }

  #release(job: Job, units: number): void {
    job.units -= units;
    this.#units -= units;
    const left = (this.#laneUnits.get(job.lane) ?? 0) - units;
    if (left > 0) this.#laneUnits.set(job.lane, left);
    else this.#laneUnits.delete(job.lane);
  }

  #send(flight: Flight): void {
    const id = this.#nextId++;
    this.#inFlight.set(id, flight);
    this.#watch ??= this.#watchPiece();
    this.#worker?.postMessage({ ...(flight.job.pieces[flight.index] as Piece), id });
  }

  #watchPiece(): NodeJS.Timeout {
    return setTimeout(() => {
      log.error("the tokenizer's thread hangs and is replaced");
      void this.#worker?.terminate();
    }, this.#limits.pieceMs).unref();
  }

  #take(done: Done): void {
    const flight = this.#inFlight.get(done.id);
    clearTimeout(this.#watch);
    this.#watch = undefined;
    this.#inFlight.delete(done.id);
    if (this.#inFlight.size > 0) this.#watch = this.#watchPiece();
    if (flight !== undefined) this.#keep(flight, done);
    this.#dispatch();
  }

  #keep({ job, index }: Flight, done: Done): void {
    if (job.settled) return;
    job.done[index] = done;
    if (--job.left === 0) this.#settle(job, null);
  }

  #start(): void {
    let worker: Worker;
    try {
      worker = this.#startWorker();
    } catch (error) {
      this.#startFallback(error);
      return;
    }
    this.#worker = worker;
    this.#ready = false;
    const late = setTimeout(() => void worker.terminate(), this.#limits.startMs).unref();
    let failure: unknown = new Error("it ended without an error");
    worker.on("message", (message: "ready" | Done) => {
      if (message !== "ready") return this.#take(message);
      clearTimeout(late);
      this.#ready = true;
      this.#dispatch();
    });
    worker.once("error", (error) => {
      failure = error;
    });
    worker.once("exit", () => {
      clearTimeout(late);
      this.#ended(failure);
    });
  }

  /** Retries the pieces that were with the thread; a piece whose second thread ended too is estimated. */
  #ended(failure: unknown): void {
    const wasReady = this.#ready;
    const lost = [...this.#inFlight.values()];
    this.#worker = null;
    this.#ready = false;
    this.#inFlight.clear();
    clearTimeout(this.#watch);
    this.#watch = undefined;
    if (!wasReady) {
      this.#startFallback(failure);
      return;
    }
    if (lost.length > 0) log.error("the tokenizer's thread ended", { error: failure });
    for (const flight of lost) {
      if (flight.attempts === 0) this.#retries.push({ ...flight, attempts: 1 });
      else this.#keep(flight, estimate(flight.job.pieces[flight.index] as Piece));
    }
    if (this.#retries.length > 0 || this.#lanes.size > 0) this.#dispatch();
  }

  #startFallback(error: unknown): void {
    log.warn("no thread for tokenizing could be started, so it takes turns with everything else", { error });
    this.#fallback = loadTokenizer();
    this.#runFallback();
  }

  #working = false;

  #runFallback(): void {
    if (this.#working) return;
    this.#working = true;
    void this.#workOnMainThread().finally(() => {
      this.#working = false;
    });
  }

  async #workOnMainThread(): Promise<void> {
    const tokenizer = await (this.#fallback as Promise<Tokenizer>);
    for (;;) {
      const flight = this.#nextFlight();
      if (flight === null) return;
      this.#keep(flight, await runInTurns(tokenizer, flight.job.pieces[flight.index] as Piece));
    }
  }
}

function startTokenWorker(): Worker {
  // In a bundle `import.meta.url` is not the path of this file, so the folder of the sources is tried too.
  const here = import.meta.url.startsWith("file:") ? path.dirname(fileURLToPath(import.meta.url)) : "";
  const folders = [here, path.join(process.cwd(), "src/server/pricing")];
  const folder = folders.find((each) => existsSync(path.join(each, WORKER_FILE)));
  if (folder === undefined) throw new Error(`${WORKER_FILE} is not there`);
  // The worker needs no secrets and no options of the process.
  const worker = new Worker(path.join(folder, WORKER_FILE), {
    name: "tokens",
    execArgv: [],
    env: {},
    resourceLimits: { maxOldGenerationSizeMb: 512 },
  });
  worker.unref();
  return worker;
}

const WORKER_FILE = "token-worker.ts";
