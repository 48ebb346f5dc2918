import { v7 as uuidv7 } from "uuid";
import { env } from "#env";
import type { Payer } from "../ledger/hold.ts";
import type { Ledger } from "../ledger/ledger.ts";
import { log } from "../platform/log.ts";
import { tokenizerOf } from "../pricing/bound.ts";
import { affordableOutput, markupOn, worstCase } from "../pricing/price.ts";
import type { CompletionRequest } from "./dialects/dialect.ts";
import type { EventMeter } from "./dialects/event-meter.ts";
import { waitForCredits } from "./waiting.ts";

/**
 * The hold of one stream, which grows while the stream runs: nothing is delivered that
 * it does not cover, and at most one growth is under way.
 */
export class GrowingHold {
  readonly #books: Ledger;
  readonly #held: { id: string; payer: Payer };
  readonly #request: CompletionRequest;
  readonly #promptBound: number;
  readonly #day: string;
  readonly #signal: AbortSignal;
  /** Credits on hold. */
  #amount: bigint;
  /** Output tokens, over all choices, that may be delivered. */
  #covered = 0;
  #underWay: Promise<Grown> | null = null;
  /** Of a growth whose outcome nobody heard: it is asked for again as it was. */
  #unheard: { id: string; desired: bigint; minimum: bigint } | null = null;
  /** Nothing could be had the last time: what is there is stretched before anybody asks again. */
  #dry = false;
  /** Where the next growth is asked for, so that it has come before it is needed. */
  #nextAt = 0;

  constructor(
    books: Ledger,
    held: { id: string; amount: bigint; payer: Payer; day: string; promptBound: number },
    request: CompletionRequest,
    signal: AbortSignal,
  ) {
    this.#books = books;
    this.#held = held;
    this.#request = request;
    this.#promptBound = held.promptBound;
    this.#day = held.day;
    this.#signal = signal;
    this.#amount = held.amount;
    this.#cover();
  }

  /** Lets the meter pass on what is covered. */
  begin(meter: EventMeter): void {
    meter.allow(this.#covered);
  }

  /** Asks for more when half of what is covered may be used up, and does not wait for it. */
  lookAhead(meter: EventMeter): void {
    if (this.#underWay !== null || this.#covered === Number.POSITIVE_INFINITY || !meter.mayExceed(this.#nextAt)) return;
    this.#nextAt = this.#covered;
    void this.#grow().then(({ kind }) => {
      if (kind === "grown") meter.raise(this.#covered);
    });
  }

  /**
   * Has the meter pass on more of what it keeps back, and says what may go to the client;
   * null when no more can be had.
   */
  async extend(meter: EventMeter): Promise<Buffer | null> {
    for (let waited = false; ; ) {
      if (this.#dry || (await this.#grow()).kind !== "grown") {
        this.#dry = true;
        if (!(await this.#stretch(meter))) {
          // All that could be found is used up: a last question, and a last wait.
          const { kind, needs } = await this.#grow();
          if (kind !== "grown" && (kind === "refused" || waited)) return null;
          if (kind === "later") {
            waited = true;
            if (!(await this.#waitFor(needs))) return null;
          }
          this.#dry = false;
        }
      }
      const through = meter.allow(this.#covered);
      if (through !== null || !meter.isFull) return through ?? NOTHING;
    }
  }

  /**
   * Adds what a bill of so many credits has beyond the hold: a provider may count more than
   * can be seen from here. What nobody has is the platform's to bear.
   */
  async pay(credits: bigint): Promise<void> {
    await this.#underWay;
    const missing = credits - this.#amount;
    if (missing <= 0n) return;
    this.#unheard ??= { id: uuidv7(), desired: missing, minimum: 1n };
    await this.#grow();
  }

  /**
   * What is billed of so many credits, which is at most what is on hold. null when nobody
   * can say before the books do, because the outcome of a growth was not heard.
   */
  billOf(credits: bigint): bigint | null {
    if (credits <= this.#amount) return credits;
    return this.#unheard === null ? this.#amount : null;
  }

  /** The bytes of a text are some four times its tokens. Whether counting them found enough to go on with. */
  async #stretch(meter: EventMeter): Promise<boolean> {
    const before = meter.outputBound();
    await meter.count(tokenizerOf(this.#request.model));
    return before - meter.outputBound() >= LEAST_STEP_TOKENS;
  }

  /** Waits for what other requests of the payer hold; false when it does not come back in time. */
  async #waitFor(needs: bigint): Promise<boolean> {
    const waited = await waitForCredits<true>({
      walletId: this.#held.payer.walletId,
      name: "",
      needs,
      patienceMs: Math.min(env.QUOTA_HOLD_WAIT_MS, MOST_PATIENCE_MS),
      bytes: 0,
      signal: this.#signal,
      first: true,
      ask: async () => {
        const grown = await this.#grow();
        if (grown.kind === "later") return { kind: "short", needs: grown.needs, available: grown.needs - 1n };
        return { kind: "served", value: true };
      },
    });
    return waited !== null;
  }

  /** One growth at a time: who asks meanwhile hears of that one. */
  #grow(): Promise<Grown> {
    this.#underWay ??= this.#ask().finally(() => {
      this.#underWay = null;
    });
    return this.#underWay;
  }

  async #ask(): Promise<Grown> {
    const growth = this.#unheard ?? this.#next();
    this.#unheard = growth;
    try {
      const verdict = await this.#books.grow({ ...growth, holdId: this.#held.id }, this.#held.payer.linkedUserId);
      this.#unheard = null;
      if (verdict.kind === "refused") return { kind: verdict.reason === "credits_on_hold" ? "later" : "refused", needs: growth.minimum };
      this.#amount += verdict.amount;
      this.#cover();
      return { kind: "grown", needs: 0n };
    } catch (error) {
      log.warn("a hold could not grow", { request_id: this.#held.id, error });
      return { kind: "later", needs: growth.minimum };
    }
  }

  /** Twice the output that is paid for, or as much of it as there is, down to a small step. */
  #next() {
    const paid = Math.max(0, this.#affordable());
    const longest = this.#longest();
    const missing = (tokens: number) => {
      const base = worstCase(this.#request.model, this.#promptBound, Math.min(longest, tokens), this.#day, this.#request.cacheWrites);
      const credits = base + markupOn(base, this.#held.payer.markupBps) - this.#amount;
      return credits > 0n ? credits : 1n;
    };
    const minimum = missing(paid + LEAST_STEP_TOKENS);
    const desired = missing(Math.max(2 * paid, paid + LEAST_STEP_TOKENS));
    return { id: uuidv7(), desired, minimum };
  }

  #cover(): void {
    const affordable = this.#affordable();
    // The provider keeps to that limit itself.
    if (affordable >= this.#longest()) this.#covered = Number.POSITIVE_INFINITY;
    else this.#covered = Math.max(0, affordable - unseenTokens(this.#request));
    this.#nextAt = this.#covered / 2;
  }

  #affordable(): number {
    const { model, cacheWrites } = this.#request;
    return affordableOutput(model, this.#promptBound, this.#amount, this.#held.payer.markupBps, this.#day, cacheWrites);
  }

  #longest(): number {
    return (this.#request.askedOutput ?? this.#request.model.maxOutputTokens) * this.#request.choices;
  }
}

type Grown = {
  /** `later`: other requests hold what is needed, or nobody can tell at the moment. */
  kind: "grown" | "refused" | "later";
  needs: bigint;
};

const NOTHING = Buffer.alloc(0);
/** Output that is worth a growth, and worth counting for. */
const LEAST_STEP_TOKENS = 64;
/** The stream stands still for so long at most. */
const MOST_PATIENCE_MS = 5_000;
/** What providers count of an answer beside its text: what begins and ends it. */
const UNSEEN_TOKENS = 32;

/** Output that is billed and not delivered, at most: a stop sequence is made and then left out. */
function unseenTokens({ body, choices }: CompletionRequest): number {
  const stop = body.stop ?? body.stop_sequences;
  const bytes = stop === undefined || stop === null ? 0 : Buffer.byteLength(JSON.stringify(stop));
  return choices * (UNSEEN_TOKENS + bytes);
}
