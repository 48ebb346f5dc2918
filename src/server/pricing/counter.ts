import { existsSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { log } from "../platform/log.ts";
import { cutIntoPieces, loadTokenizer, PIECE_UNITS, type Tokenizer } from "./bpe.ts";
import { estimate, inTurns, type Piece, piecesOf, someOf, sum, unitsOf } from "./pieces.ts";
import type { Done } from "./token-worker.ts";

/**
 * The budget of this process for tokenizing: one thread beside the main one, which takes pieces of at most about
 * 30 ms from a bounded queue. Each lane (an app) has a turn before any has another, so what one sends delays
 * the others by a piece at a time. No text is tokenized on the main thread as long as a thread can be had.
 */

export type CountOptions = {
  /** In whose turn it is counted: the id of an app. */
  lane?: string;
  /**
   * `bill`, the default, always gives a number: of more than a mebibyte it counts a sample, and what cannot
   * be counted in time or for lack of a place in the queue is estimated by its bytes. `ask` counts all of it and
   * throws TooBusyToCountError instead: for who can do without.
   */
  purpose?: "ask" | "bill";
};

/** Nobody can count this now; in a few seconds it may be otherwise. */
export class TooBusyToCountError extends Error {
  constructor() {
    super("There is more to tokenize than can be done in time.");
    this.name = "TooBusyToCountError";
  }
}

type Limits = {
  /** UTF-16 units that one lane may have waiting to be counted for a question. */
  laneUnits: number;
  /** The same for a bill, where the money on hold bounds the number already. */
  laneBillUnits: number;
  /** Units of all lanes. */
  units: number;
  /** Units of one text, or of several that are counted together, of which all are counted for a bill. */
  wholeUnits: number;
  askMs: number;
  billMs: number;
  /** A piece that takes longer is taken to have hung the thread. */
  pieceMs: number;
  startMs: number;
};

const LIMITS: Limits = {
  laneUnits: 16 * 1024 * 1024,
  laneBillUnits: 64 * 1024 * 1024,
  units: 256 * 1024 * 1024,
  wholeUnits: 1024 * 1024,
  askMs: 10_000,
  // Less than what a hold lives beyond the longest request.
  billMs: 30_000,
  pieceMs: 10_000,
  startMs: 60_000,
};

/** Pieces sent ahead, so that the thread does not wait for the main one between two of them. */
const MOST_IN_FLIGHT = 2;

type Job = {
  lane: string;
  pieces: readonly Piece[];
  /** The first that was not sent yet. */
  next: number;
  left: number;
  /** That were not sent yet. */
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
  /** In the order of their turns. */
  readonly #lanes = new Map<string, Job[]>();
  readonly #laneUnits = new Map<string, number>();
  #units = 0;
  /** What a thread that ended was doing; it goes first, once more. */
  readonly #again: Flight[] = [];
  readonly #inFlight = new Map<number, Flight>();
  #nextId = 1;
  #worker: Worker | null = null;
  #ready = false;
  /** Set when no thread could be had: then the main one does the work, in short turns. */
  #instead: Promise<Tokenizer> | null = null;
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
    // Which pieces stand for the rest nobody outside can know, or the others could be of another kind.
    const sample = someOf(pieces, Math.ceil(this.#limits.wholeUnits / PIECE_UNITS));
    const sampled = unitsOf(sample);
    return Math.round((sum(await this.#run(sample, sampled, lane, purpose)) * units) / sampled);
  }

  /**
   * The tokens of all these texts at most, with a tokenizer of which o200k_base is only an indication; see `closerBound`.
   * @throws TooBusyToCountError if there is no time for it now.
   */
  async bound(texts: readonly string[], margin: number, lane = ""): Promise<number> {
    const pieces = piecesOf(texts, margin);
    return Math.ceil(sum(await this.#run(pieces, unitsOf(pieces), lane, "ask")));
  }

  /** The tokens of a text, for the simulator; pieces that can't be had are left out. */
  async encode(text: string, lane = ""): Promise<number[]> {
    const pieces = cutIntoPieces(text).map((piece): Piece => ({ kind: "encode", text: piece }));
    const done = await this.#run(pieces, text.length, lane, "bill");
    return done.flatMap(({ tokens }) => tokens ?? []);
  }

  /** The bytes of tokens, for the simulator; null for what is no token. */
  async bytes(tokens: readonly number[], lane = ""): Promise<(Uint8Array | null)[]> {
    const [done] = await this.#run([{ kind: "bytes", tokens }], tokens.length, lane, "bill");
    return done?.bytes ?? tokens.map(() => null);
  }

  /** Ends the thread; what is still asked of it is answered as after a crash. */
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
      this.#goOn();
    });
  }

  /** Too late, or no room: a question is refused, and of a bill what is missing is estimated. */
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

  /** Sends pieces as long as the thread takes some. */
  #goOn(): void {
    if (this.#instead !== null) {
      this.#doInstead();
      return;
    }
    if (this.#worker === null) this.#start();
    if (!this.#ready) return;
    while (this.#inFlight.size < MOST_IN_FLIGHT) {
      const flight = this.#nextFlight();
      if (flight === null) break;
      this.#send(flight);
    }
    // A process whose work is done need not wait for a thread that has none.
    if (this.#inFlight.size === 0) this.#worker?.unref();
    else this.#worker?.ref();
  }

  /** The next piece of whoever's turn it is. */
  #nextFlight(): Flight | null {
    for (let flight = this.#again.shift(); flight !== undefined; flight = this.#again.shift()) if (!flight.job.settled) return flight;
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
    this.#goOn();
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
      this.#insteadOf(error);
      return;
    }
    this.#worker = worker;
    this.#ready = false;
    const late = setTimeout(() => void worker.terminate(), this.#limits.startMs).unref();
    let failure: unknown = new Error("it ended without a word");
    worker.on("message", (message: "ready" | Done) => {
      if (message !== "ready") return this.#take(message);
      clearTimeout(late);
      this.#ready = true;
      this.#goOn();
    });
    worker.once("error", (error) => {
      failure = error;
    });
    worker.once("exit", () => {
      clearTimeout(late);
      this.#ended(failure);
    });
  }

  /** What the thread was at is done once more; a piece that ends a second one is estimated. */
  #ended(failure: unknown): void {
    const wasReady = this.#ready;
    const lost = [...this.#inFlight.values()];
    this.#worker = null;
    this.#ready = false;
    this.#inFlight.clear();
    clearTimeout(this.#watch);
    this.#watch = undefined;
    if (!wasReady) {
      this.#insteadOf(failure);
      return;
    }
    if (lost.length > 0) log.error("the tokenizer's thread ended", { error: failure });
    for (const flight of lost) {
      if (flight.attempts === 0) this.#again.push({ ...flight, attempts: 1 });
      else this.#keep(flight, estimate(flight.job.pieces[flight.index] as Piece));
    }
    if (this.#again.length > 0 || this.#lanes.size > 0) this.#goOn();
  }

  #insteadOf(error: unknown): void {
    log.warn("no thread for tokenizing could be started, so it takes turns with everything else", { error });
    this.#instead = loadTokenizer();
    this.#doInstead();
  }

  #working = false;

  #doInstead(): void {
    if (this.#working) return;
    this.#working = true;
    void this.#workInstead().finally(() => {
      this.#working = false;
    });
  }

  async #workInstead(): Promise<void> {
    const tokenizer = await (this.#instead as Promise<Tokenizer>);
    for (;;) {
      const flight = this.#nextFlight();
      if (flight === null) return;
      this.#keep(flight, await inTurns(tokenizer, flight.job.pieces[flight.index] as Piece));
    }
  }
}

function startTokenWorker(): Worker {
  // A bundle has its own idea of where this file is; the sources are at hand there too.
  const here = import.meta.url.startsWith("file:") ? path.dirname(fileURLToPath(import.meta.url)) : "";
  const folders = [here, path.join(process.cwd(), "src/server/pricing")];
  const folder = folders.find((each) => existsSync(path.join(each, WORKER_FILE)));
  if (folder === undefined) throw new Error(`${WORKER_FILE} is not there`);
  // It needs no secrets and none of the process's own options.
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
