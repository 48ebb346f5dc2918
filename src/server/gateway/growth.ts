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
 * The hold of one stream, which grows while the stream runs. The client gets only output
 * that the hold covers. At most one growth is in flight.
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
  #inFlight: Promise<Grown> | null = null;
  /** A growth whose outcome is unknown, because its statement failed. It is sent again with its id, so it is added once. */
  #unanswered: { id: string; desired: bigint; minimum: bigint } | null = null;
  /** The last growth was not granted: a closer count of the output is tried before the ledger is asked again. */
  #isExhausted = false;
  /** Output tokens from which the next growth is asked for: half of what is covered, so that it arrives before it is needed. */
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

  /** Allows the meter to pass on the output that the hold covers. */
  begin(meter: EventMeter): void {
    meter.allow(this.#covered);
  }

  /** Starts a growth when half of what is covered may be used up, and does not wait for it. */
  growAhead(meter: EventMeter): void {
    if (this.#inFlight !== null || this.#covered === Number.POSITIVE_INFINITY || !meter.mayExceed(this.#nextAt)) return;
    this.#nextAt = this.#covered;
    void this.#grow().then(({ kind }) => {
      if (kind === "grown") meter.raise(this.#covered);
    });
  }

  /**
   * Grows the hold by what the meter keeps back, and returns the bytes that may go to the
   * client; null when no more credits can be had.
   */
  async extend(meter: EventMeter): Promise<Buffer | null> {
    for (let waited = false; ; ) {
      if (this.#isExhausted || (await this.#grow()).kind !== "grown") {
        this.#isExhausted = true;
        if (!(await this.#stretch(meter))) {
          // Counting lowers the bound no further: one more growth, and one wait for credits on hold.
          const { kind, needs } = await this.#grow();
          if (kind !== "grown" && (kind === "refused" || waited)) return null;
          if (kind === "later") {
            waited = true;
            if (!(await this.#waitFor(needs))) return null;
          }
          this.#isExhausted = false;
        }
      }
      const through = meter.allow(this.#covered);
      if (through !== null || !meter.isFull) return through ?? NOTHING;
    }
  }

  /**
   * Grows the hold to a bill of so many credits: a provider may count more output than the
   * stream showed. The platform bears what the payer does not have.
   */
  async pay(credits: bigint): Promise<void> {
    await this.#inFlight;
    const missing = credits - this.#amount;
    if (missing <= 0n) return;
    this.#unanswered ??= { id: uuidv7(), desired: missing, minimum: 1n };
    await this.#grow();
  }

  /**
   * What a price of so many credits is billed as: at most the credits on hold. null when
   * only the ledger knows how many those are, because a growth's outcome is unknown.
   */
  billOf(credits: bigint): bigint | null {
    if (credits <= this.#amount) return credits;
    return this.#unanswered === null ? this.#amount : null;
  }

  /** Replaces the bound of the output by its bytes, some four times its tokens, by a tokenizer's count. Whether that freed enough to go on. */
  async #stretch(meter: EventMeter): Promise<boolean> {
    const before = meter.outputBound();
    await meter.count(tokenizerOf(this.#request.model));
    return before - meter.outputBound() >= LEAST_STEP_TOKENS;
  }

  /** Waits for credits that other requests of the payer hold; false when they do not come back in time. */
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

  /** Starts a growth, or joins the one in flight. */
  #grow(): Promise<Grown> {
    this.#inFlight ??= this.#ask().finally(() => {
      this.#inFlight = null;
    });
    return this.#inFlight;
  }

  async #ask(): Promise<Grown> {
    const growth = this.#unanswered ?? this.#next();
    this.#unanswered = growth;
    try {
      const verdict = await this.#books.grow({ ...growth, holdId: this.#held.id }, this.#held.payer.linkedUserId);
      this.#unanswered = null;
      if (verdict.kind === "refused") return { kind: verdict.reason === "credits_on_hold" ? "later" : "refused", needs: growth.minimum };
      this.#amount += verdict.amount;
      this.#cover();
      return { kind: "grown", needs: 0n };
    } catch (error) {
      log.warn("a hold could not grow", { request_id: this.#held.id, error });
      return { kind: "later", needs: growth.minimum };
    }
  }

  /** A growth to twice the output that is paid for, or to as much as the payer has, but at least by LEAST_STEP_TOKENS. */
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
    // The provider ends the answer at the request's limit, so more need not be watched for.
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
  /** `later`: other requests hold the credits, or the ledger did not answer. */
  kind: "grown" | "refused" | "later";
  /** Credits that were asked for at least; 0 when they were granted. */
  needs: bigint;
};

const NOTHING = Buffer.alloc(0);
/** The least output for which a hold grows. Less would take a round trip for each few words. */
const LEAST_STEP_TOKENS = 64;
/** The longest pause of a stream that waits for credits. */
const MOST_PATIENCE_MS = 5_000;
/** Tokens that providers count beside an answer's text, such as those that begin and end it. */
const UNSEEN_TOKENS = 32;

/** The most output tokens that are billed and not delivered: the model generates a stop sequence, and the provider removes it. */
function unseenTokens({ body, choices }: CompletionRequest): number {
  const stop = body.stop ?? body.stop_sequences;
  const bytes = stop === undefined || stop === null ? 0 : Buffer.byteLength(JSON.stringify(stop));
  return choices * (UNSEEN_TOKENS + bytes);
}
