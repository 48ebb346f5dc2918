import { createWriteStream, type WriteStream } from "node:fs";
import { Agent, request } from "undici";
import { bodyOf, MOST_ORDERS, type Order, type Payer, pathOf, pause, type Script, type World } from "./world.ts";

/** An answer with a price, recorded by the client when the price arrived. */
export type Priced = { order: Order; requestId: string; credits: bigint; balance: bigint | null; replayed: boolean };

/** What a client recorded about one intended request. */
export type Story = {
  order: Order;
  payer: Payer;
  isScarce: boolean;
  /** Repeated with this key until there is an answer. */
  idempotencyKey: string | null;
  priced: Priced[];
  /** Request ids of answers that began; they may be billed although the client saw no price. */
  begun: string[];
  /** How often the client got an error. */
  refusals: number;
  /** How often the client hung up, or its connection ended, before the price came. */
  cutOff: number;
  /** Retry-After of the last error. */
  retryAfterMs: number;
  /** Whether the client hangs up: before the answer, or during it. */
  hangsUp: "no" | "early" | "late";
};

export type Counts = {
  priced: number;
  replayed: number;
  withoutBalance: number;
  refused: Map<string, number>;
  cutOff: number;
  hungUp: number;
};

/** The client's time limit: longer than any fault, so that waiting requests get an answer. */
const CLIENT_TIMEOUT_MS = 60_000;
/** Pause after a failure, because a stopped server refuses at once and the load would consist of refusals. */
const PAUSE_AFTER_FAILURE_MS = 50;
const FINAL = [400, 401, 402, 403, 404, 429, 502];
const RETRY_MS = 300;
const LONGEST_RETRY_MS = 5_000;

/**
 * Clients that send requests to random servers: chat and messages, JSON and streams, with API keys and
 * access tokens, some with an Idempotency-Key, some that hang up. Each price is written to `file`
 * when it arrives.
 */
export class Load {
  readonly stories: Story[] = [];
  readonly counts: Counts = { priced: 0, replayed: 0, withoutBalance: 0, refused: new Map(), cutOff: 0, hungUp: 0 };
  readonly #agent = new Agent({
    headersTimeout: CLIENT_TIMEOUT_MS,
    bodyTimeout: CLIENT_TIMEOUT_MS,
    keepAliveTimeout: 4_000,
    connect: { timeout: 5_000 },
  });
  readonly #world: World;
  readonly #targets: () => readonly string[];
  readonly #file: WriteStream;
  readonly #clients: Promise<void>[];
  /** Requests with an Idempotency-Key that have no answer yet. */
  readonly #again = new Set<Promise<void>>();
  #keysUsed = true;
  #keyed = 0;
  #stopped = false;
  #givenUp = false;

  constructor(world: World, targets: () => readonly string[], options: { clients: number; file: string }) {
    this.#world = world;
    this.#targets = targets;
    this.#file = createWriteStream(options.file);
    this.#clients = Array.from({ length: options.clients }, () => this.#client());
  }

  /** Resolves when this many answers have had a price; throws after `withinMs`. */
  async reach(answers: number, withinMs: number): Promise<void> {
    const deadline = performance.now() + withinMs;
    while (this.counts.priced < answers) {
      if (performance.now() > deadline) throw new Error(`only ${this.counts.priced} of ${answers} answers after ${withinMs / 1000} s`);
      await pause(20);
    }
  }

  /**
   * Runs `work` while no request with an Idempotency-Key is under way. The server keeps an answer for
   * a day, so after a move of the clock a repeated key would start a new request.
   */
  async withoutKeys(work: () => Promise<void>, withinMs: number): Promise<void> {
    this.#keysUsed = false;
    const deadline = performance.now() + withinMs;
    while (this.#keyed > 0) {
      if (performance.now() > deadline) throw new Error(`requests with an Idempotency-Key had no answer after ${withinMs / 1000} s`);
      await pause(20);
    }
    await work();
    this.#keysUsed = true;
  }

  /** Starts no further request; resolves when all under way have ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#clients);
  }

  /** Waits for requests with an Idempotency-Key that are still repeated. True when all have been answered. */
  async settled(withinMs: number): Promise<boolean> {
    const waiting = Promise.all(this.#again).then(() => true);
    const answered = await Promise.race([waiting, pause(withinMs).then(() => false)]);
    this.#givenUp = true;
    await waiting;
    await this.#agent.destroy();
    await new Promise<void>((resolve) => this.#file.end(() => resolve()));
    return answered;
  }

  async #client(): Promise<void> {
    while (!this.#stopped) {
      const story = this.#next();
      if (story.idempotencyKey !== null) this.#keyed++;
      const isAnswered = await this.#ask(story);
      if (story.idempotencyKey === null) continue;
      // Some answered requests are repeated, like those of a client that lost the answer.
      const again = isAnswered ? (Math.random() < 0.3 ? this.#ask(story).then(() => {}) : Promise.resolve()) : this.#insist(story);
      this.#again.add(again);
      void again.finally(() => {
        this.#again.delete(again);
        this.#keyed--;
      });
      if (isAnswered) await again;
    }
  }

  async #insist(story: Story): Promise<void> {
    do await pause(Math.min(Math.max(story.retryAfterMs, RETRY_MS), LONGEST_RETRY_MS));
    while (!this.#givenUp && !(await this.#ask(story)));
  }

  #next(): Story {
    const number = this.stories.length;
    if (number >= MOST_ORDERS) throw new Error("there are no more numbers for requests");
    const stream = Math.random() < 0.45;
    const isScarce = Math.random() < 0.1;
    const payers = isScarce ? this.#world.scarce : this.#world.plenty;
    const idempotent = this.#keysUsed && !stream && Math.random() < 0.25;
    const order: Order = { number, door: Math.random() < 0.6 ? "chat" : "messages", stream, script: scriptFor(stream) };
    const story: Story = {
      order,
      payer: payers[Math.floor(Math.random() * payers.length)] as Payer,
      isScarce,
      idempotencyKey: idempotent ? `fault-${number}` : null,
      priced: [],
      begun: [],
      refusals: 0,
      cutOff: 0,
      retryAfterMs: 0,
      hangsUp: idempotent || Math.random() > 0.04 ? "no" : stream ? "late" : "early",
    };
    this.stories.push(story);
    return story;
  }

  /** Sends the request once. True when it need not be repeated. */
  async #ask(story: Story): Promise<boolean> {
    const targets = this.#targets();
    const target = targets[Math.floor(Math.random() * targets.length)];
    if (target === undefined) {
      await pause(50);
      return false;
    }
    const leaving = new AbortController();
    if (story.hangsUp === "early") setTimeout(() => leaving.abort(), Math.random() * 20);
    try {
      const answer = await request(target + pathOf[story.order.door], {
        method: "POST",
        dispatcher: this.#agent,
        signal: leaving.signal,
        headers: {
          "content-type": "application/json",
          ...story.payer.headers,
          ...(story.idempotencyKey === null ? {} : { "idempotency-key": story.idempotencyKey }),
        },
        body: bodyOf(story.order),
      });
      const requestId = String(answer.headers["x-request-id"]);
      const replayed = answer.headers["idempotency-replayed"] === "true";
      if (answer.statusCode === 200) story.begun.push(requestId);
      story.retryAfterMs = Number(answer.headers["retry-after"] ?? 0) * 1_000;
      let text = "";
      let isPriced = false;
      for await (const part of answer.body.setEncoding("utf8")) {
        text += part;
        if (answer.statusCode === 200 && !isPriced) isPriced = this.#notePrice(story, requestId, replayed, text);
        // Leaving the loop ends the connection.
        if (story.hangsUp === "late") break;
      }
      if (answer.statusCode === 200) {
        if (isPriced) return true;
        if (story.hangsUp === "no") this.#refuse(story, "200 failed within its stream");
        else this.#cutOff(story);
        return true;
      }
      this.#refuse(story, `${answer.statusCode} ${/"code":\s*"(\w+)"/.exec(text)?.[1] ?? ""}`);
      if (answer.statusCode >= 500) await pause(PAUSE_AFTER_FAILURE_MS);
      // Errors about the request, its payer or the provider are the same when repeated at once.
      return story.idempotencyKey === null || FINAL.includes(answer.statusCode);
    } catch {
      this.#cutOff(story);
      if (story.hangsUp === "no") await pause(PAUSE_AFTER_FAILURE_MS);
      return false;
    }
  }

  #notePrice(story: Story, requestId: string, replayed: boolean, text: string): boolean {
    const [, credits, balance] = /"credits_used":(\d+),"balance_after":(\d+|null)/.exec(text) ?? [];
    if (credits === undefined) return false;
    const priced = {
      order: story.order,
      requestId,
      credits: BigInt(credits),
      balance: balance === "null" ? null : BigInt(balance ?? 0),
      replayed,
    };
    story.priced.push(priced);
    this.#file.write(`${requestId} ${credits} ${balance} ${story.order.number}${replayed ? " replayed" : ""}\n`);
    this.counts.priced++;
    if (replayed) this.counts.replayed++;
    if (balance === "null") this.counts.withoutBalance++;
    return true;
  }

  #refuse(story: Story, what: string): void {
    story.refusals++;
    this.counts.refused.set(what, (this.counts.refused.get(what) ?? 0) + 1);
  }

  #cutOff(story: Story): void {
    story.cutOff++;
    if (story.hangsUp === "no") this.counts.cutOff++;
    else this.counts.hungUp++;
  }
}

function scriptFor(stream: boolean): Script {
  const chance = Math.random();
  if (chance < 0.01) return "fail";
  if (chance < 0.02) return stream ? "cut" : "fail";
  if (chance < 0.05) return stream ? "long" : "slow";
  return "plain";
}
