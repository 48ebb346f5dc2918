import type { Readable } from "node:stream";
import { env } from "#env";
import type { Settlement } from "../ledger/hold.ts";
import type { Ledger, Settled } from "../ledger/ledger.ts";
import { AppError } from "../platform/errors.ts";
import { log } from "../platform/log.ts";
import { processWide } from "../platform/process-wide.ts";
import { baseCost, markupOn, type TokenUsage } from "../pricing/price.ts";
import { countUsage, quotaMember } from "./bill.ts";
import type { EventMeter } from "./dialects/event-meter.ts";
import { appendMember } from "./dialects/json-text.ts";
import { GrowingHold } from "./growth.ts";
import { upstreamRefusal } from "./provider-error.ts";
import type { Upstream } from "./providers.ts";
import { type Answer, type Held, holdLifetimeMs, nothingUsed, type Purchase } from "./purchase.ts";
import { failedInStream, noteDuration, unbilled, unreachable } from "./refusals.ts";
import { billAndRemember } from "./remember.ts";
import {
  answerTooLarge,
  ask,
  BodyEndTimer,
  closeBody,
  decoded,
  drain,
  EVENT_STREAM_HEADERS,
  findUpstream,
  isEventStream,
  parseAnswer,
  readAnswer,
  type UpstreamResponse,
} from "./upstream.ts";
import { creditsCameBack } from "./waiting.ts";

/** Requests of this process whose credits are on hold. */
export function openSales(): number {
  return open.size;
}

const open = processWide("open sales", () => new Set<Sale>());

/** How a sale ends. */
type Ending =
  /** The answer is complete, and its price is known. */
  | { how: "answered"; settlement: Settlement }
  /** `billAndRemember` has committed the bill and the answer. */
  | { how: "remembered" }
  /** The client hung up, or the stream reached QUOTA_REQUEST_TIMEOUT_MS: what was delivered is billed. */
  | { how: "interrupted"; meter: EventMeter }
  /** Nothing is billed. */
  | { how: "released"; outcome: "failed" | "interrupted" };

/**
 * One request with credits on hold, which ends once:
 *
 *   open ──ended(how)──► settling ──► closed
 *
 * A sale is open from its hold on. The first of the four endings is settled; every later one
 * does nothing. A sale is closed when the ledger has settled it, or has given up.
 */
export class Sale {
  readonly #books: Ledger;
  readonly #purchase: Purchase;
  readonly #held: Held;
  readonly #startedAt: number;
  readonly #abort = new AbortController();
  readonly #growing: GrowingHold | null;
  readonly #timer: NodeJS.Timeout;
  #timedOut = false;
  #hasEnded = false;
  #upstream: Upstream | null = null;
  #upstreamStatus: number | null = null;
  /** The answer's stream exists, and the caller has not begun to read it. */
  #unread = false;
  #streaming = false;

  constructor(books: Ledger, purchase: Purchase, held: Held, startedAt: number) {
    this.#books = books;
    this.#purchase = purchase;
    this.#held = held;
    this.#startedAt = startedAt;
    this.#growing = held.grows ? new GrowingHold(books, held, purchase.request, this.#abort.signal) : null;
    open.add(this);
    this.#timer = setTimeout(() => {
      this.#timedOut = true;
      this.#abort.abort();
    }, env.QUOTA_REQUEST_TIMEOUT_MS);
    // A request with an Idempotency-Key runs to its end after its client hung up: a retry
    // gets the remembered answer.
    if (purchase.remember === undefined) {
      if (purchase.signal.aborted) this.#abort.abort();
      else purchase.signal.addEventListener("abort", this.#onHangUp, { once: true });
    }
  }

  readonly #onHangUp = () => {
    // When only the provider can count the output, the stream is read to the usage at its end.
    if (this.#streaming && this.#purchase.request.onlyProviderCounts) return;
    this.#abort.abort();
    // A generator that was never started does not run its `finally`.
    if (this.#unread) void this.release("interrupted");
  };

  async run(): Promise<Answer> {
    const { request } = this.#purchase;
    const upstream = await findUpstream(request, this.#held.payer);
    this.#upstream = upstream;
    let response: UpstreamResponse;
    try {
      response = decoded(await ask(upstream, this.#purchase, this.#held.outputLimit, this.#abort.signal));
    } catch (error) {
      throw this.#unreachable(error);
    }
    this.#upstreamStatus = response.statusCode;
    if (response.statusCode < 200 || response.statusCode > 299) throw await upstreamRefusal(response, upstream.provider);
    if (request.stream && isEventStream(response.headers["content-type"])) {
      if (this.#purchase.signal.aborted) throw this.#unreachable(this.#purchase.signal.reason);
      this.#unread = true;
      return {
        kind: "stream",
        headers: { ...this.#headers(), ...EVENT_STREAM_HEADERS },
        body: this.#stream(response.body),
      };
    }
    return this.#json(response.body);
  }

  /** Returns the whole hold, and waits for the ledger at most ten seconds. Does nothing when the sale has ended. */
  async release(outcome: "failed" | "interrupted" = "failed"): Promise<void> {
    await this.#ended({ how: "released", outcome });
  }

  /**
   * The one transition of a sale; only the first call has an effect. Resolves with the
   * ledger's verdict; with null when there is none, or when the bill is only kept on disk.
   * Rejects when the bill could not be written within the hold's lifetime. Not async, which
   * would make another promise for every request.
   */
  #ended(by: Ending): Promise<Settled | null> {
    if (this.#hasEnded) return ENDED_BEFORE;
    this.#hasEnded = true;
    clearTimeout(this.#timer);
    this.#purchase.signal.removeEventListener("abort", this.#onHangUp);
    noteDuration(this.#durationMs());
    switch (by.how) {
      case "answered":
        return this.#bill(by.settlement);
      case "remembered":
        this.#close();
        return SETTLED_BEFORE;
      case "interrupted":
        return this.#billDelivered(by.meter);
      case "released":
        return this.#giveBack(by.outcome);
    }
  }

  /**
   * Resolves with null when the database takes too long: the bill is kept on disk then, and
   * the answer has no balance. Throws when the bill could be written to neither
   * within the hold's lifetime.
   */
  async #bill(settlement: Settlement): Promise<Settled | null> {
    try {
      const lifetimeMs = holdLifetimeMs();
      // Only the ledger knows the price, so there is none to name before it is committed.
      if (this.#billOf(settlement) === null) {
        const settled = await this.#books.settle(settlement, lifetimeMs);
        this.#close();
        return settled;
      }
      const settled = await this.#books.settleOrKeep(settlement, { lifetimeMs, patienceMs: SETTLE_PATIENCE_MS });
      // A bill that is only on disk has not returned credits yet, so no waiter is served.
      if (settled === null) open.delete(this);
      else this.#close();
      return settled;
    } catch (error) {
      this.#close();
      throw unbilled(error);
    }
  }

  /** Bills what was delivered, and returns the rest of the hold. */
  async #billDelivered(meter: EventMeter): Promise<Settled | null> {
    const usage = meter.usage ?? (await countUsage(this.#purchase, this.#held.payer, meter.deliveredTokens(), meter.promptUsage));
    // The client is gone, so the price goes nowhere. The ledger has logged a failure.
    return this.#bill(this.#settlement(usage, "interrupted", meter.usage === null ? "tokenizer" : "provider", meter.tier)).catch(
      () => null,
    );
  }

  async #giveBack(outcome: "failed" | "interrupted"): Promise<null> {
    const nothing = nothingUsed(this.#purchase, outcome, this.#upstream, this.#durationMs(), this.#upstreamStatus);
    const returned = this.#books.settle(nothing, holdLifetimeMs()).finally(() => this.#close());
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, SETTLE_PATIENCE_MS);
    });
    // When the ledger has logged a failure and given up, the sweeper returns the credits.
    await Promise.race([returned.catch(() => {}), patience]);
    clearTimeout(timer);
    return null;
  }

  /** The ledger has settled the sale, so requests that wait for credits can be served. */
  #close(): void {
    open.delete(this);
    creditsCameBack(this.#held.payer.walletId);
  }

  async #json(body: Readable): Promise<Answer> {
    const { dialect } = this.#purchase;
    let text: string | null;
    try {
      text = await readAnswer(body);
    } catch (error) {
      throw this.#unreachable(error);
    }
    if (text === null) throw answerTooLarge();
    const parsed = parseAnswer(text, dialect);
    const reported = dialect.readUsage(parsed);
    const usage = reported ?? (await countUsage(this.#purchase, this.#held.payer, dialect.countAnswer(parsed, this.#held.payer.appId)));
    const settlement = this.#settlement(usage, "completed", reported === null ? "tokenizer" : "provider", parsed.service_tier);
    await this.#growing?.pay(settlement.base + settlement.markup);
    const answer = (verdict: Settled | null): Answer & { kind: "json" } => ({
      kind: "json",
      headers: { ...this.#headers(), "content-type": "application/json; charset=utf-8" },
      body: appendMember(text, "quota", this.#quota(verdict, settlement)),
    });
    const { remember } = this.#purchase;
    if (remember === undefined) return answer(await this.#ended({ how: "answered", settlement }));
    // When this throws, the sale is still open, and `complete` releases it.
    const remembered = await billAndRemember(settlement, remember, answer);
    await this.#ended({ how: "remembered" });
    return remembered;
  }

  /**
   * The answer's bytes, as they arrive. The reader may stop at any time, by ending the
   * iterator or by aborting the purchase's signal.
   */
  async *#stream(body: Readable): AsyncGenerator<Uint8Array, void, void> {
    this.#unread = false;
    this.#streaming = true;
    const meter = this.#purchase.dialect.watch(this.#purchase.request, this.#held.payer.appId);
    const growing = this.#growing;
    growing?.begin(meter);
    const bodyTimer = new BodyEndTimer(body, meter);
    try {
      for await (const chunk of body.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
        bodyTimer.stop();
        const through = meter.push(chunk);
        if (through !== null) yield through;
        // Back-pressure: no more is read from the provider before the hold covers what came.
        if (growing !== null) yield* this.#extend(growing, meter);
        if (meter.failure !== null || meter.done || meter.isFull) break;
        bodyTimer.begin();
      }
      bodyTimer.stop();
      const rest = meter.isFull ? null : meter.end();
      if (rest !== null) yield rest;
      if (growing !== null && !meter.isFull) yield* this.#extend(growing, meter);
      yield await (meter.isFull ? this.#cutShort(meter, body) : this.#finishStream(meter));
    } catch (error) {
      if (this.#purchase.signal.aborted) return;
      if (!this.#hasEnded && meter.failure === null && meter.hasEndedAnswer() && (meter.usage !== null || bodyTimer.hasFired)) {
        // The answer is complete, and its usage has come or timed out; only the end of the body is missing.
        yield await this.#finishStream(meter);
        return;
      }
      if (this.#timedOut) {
        // Billed, because a client could cause this timeout by reading slowly.
        const outOfTime = { message: "This request took longer than it may; what was delivered was billed." };
        yield meter.errorEvent(new AppError("gateway_timeout", outOfTime));
        return;
      }
      const failure = error instanceof AppError ? error : this.#unreachable(error);
      await this.release();
      log.warn("stream failed", { request_id: this.#purchase.id, error: failure });
      // The status 200 has been sent, so the error is an event of the stream.
      yield meter.errorEvent(failure);
    } finally {
      bodyTimer.stop();
      // The sale is open here only when the client hung up or the request timed out.
      if (!this.#hasEnded) {
        if (this.#purchase.request.onlyProviderCounts) await drain(body, meter);
        // A provider that failed is not paid, whether or not the client was still there to be told.
        await this.#ended(meter.failure === null ? { how: "interrupted", meter } : { how: "released", outcome: "failed" });
      }
      closeBody(body, meter.done);
    }
  }

  /** Bills a stream that has ended, and returns the end of the answer with its `quota`. */
  async #finishStream(meter: EventMeter): Promise<Buffer> {
    if (meter.failure !== null) throw failedInStream(meter.failure);
    if (!meter.isComplete())
      throw new AppError("upstream_error", { message: "The model's provider broke off its answer. Nothing was billed." });
    const usage = meter.usage ?? (await countUsage(this.#purchase, this.#held.payer, meter.completedTokens(), meter.promptUsage));
    const outcome = this.#purchase.signal.aborted ? "interrupted" : "completed";
    const settlement = this.#settlement(usage, outcome, meter.usage === null ? "tokenizer" : "provider", meter.tier);
    await this.#growing?.pay(settlement.base + settlement.markup);
    const verdict = await this.#ended({ how: "answered", settlement });
    return meter.closing(this.#quota(verdict, settlement));
  }

  /** Grows the hold to cover what the meter keeps back. When no credits can be had, the meter stays full. */
  async *#extend(growing: GrowingHold, meter: EventMeter): AsyncGenerator<Uint8Array, void, void> {
    growing.growAhead(meter);
    while (meter.isFull) {
      const through = await growing.extend(meter);
      if (through === null) return;
      if (through.length > 0) yield through;
    }
  }

  /** Ends a stream whose payer has no more credits as at an output limit, and bills what was delivered. */
  async #cutShort(meter: EventMeter, body: Readable): Promise<Buffer> {
    if (this.#abort.signal.aborted) throw this.#unreachable(this.#abort.signal.reason);
    closeBody(body, false);
    const usage = meter.usage ?? (await countUsage(this.#purchase, this.#held.payer, meter.completedTokens(), meter.promptUsage));
    const settlement = this.#settlement(usage, "completed", meter.usage === null ? "tokenizer" : "provider", meter.tier);
    const verdict = await this.#ended({ how: "answered", settlement });
    return meter.cutShort(usage, this.#quota(verdict, settlement));
  }

  /** `tier`: the service tier that the provider reports; when it reports none, the requested tier is billed. */
  #settlement(usage: TokenUsage, outcome: "completed" | "interrupted", countedBy: "provider" | "tokenizer", tier: unknown): Settlement {
    const { body, model } = this.#purchase.request;
    const base = baseCost(model, usage, this.#held.day, tier ?? body.service_tier);
    return {
      ...nothingUsed(this.#purchase, outcome, this.#upstream, this.#durationMs(), this.#upstreamStatus),
      base,
      markup: markupOn(base, this.#held.payer.markupBps),
      promptTokens: usage.promptTokens,
      cachedTokens: usage.cachedTokens,
      completionTokens: usage.completionTokens,
      countedBy,
    };
  }

  #quota(verdict: Settled | null, settlement: Settlement): string {
    const settled = verdict?.kind === "settled" ? verdict : null;
    // Without a verdict the bill is kept on disk. With one that is not `settled`, the sweeper has returned the hold.
    const charged = settled?.charged ?? (verdict === null ? this.#billOf(settlement) : 0n);
    return quotaMember(this.#purchase, this.#held.payer, charged, settled?.balanceAfter ?? null);
  }

  /** What the ledger will bill: at most the credits on hold. null when only the ledger knows how many those are. */
  #billOf({ base, markup }: Settlement): bigint | null {
    const price = base + markup;
    if (this.#growing !== null) return this.#growing.billOf(price);
    return price < this.#held.amount ? price : this.#held.amount;
  }

  #headers(): Record<string, string> {
    return {
      ...(this.#held.outputLimit === null ? {} : { "x-quota-max-tokens": String(this.#held.outputLimit) }),
      ...(this.#upstream?.provider === "simulator" ? { "x-quota-simulated": "true" } : {}),
    };
  }

  #unreachable(error: unknown): AppError {
    return unreachable(error, { timedOut: this.#timedOut, provider: this.#upstream?.provider });
  }

  #durationMs(): number {
    return performance.now() - this.#startedAt;
  }
}

const SETTLE_PATIENCE_MS = 10_000;

/** The ledger's verdict for an id that it has settled before. */
const ENDED_BEFORE: Promise<Settled> = Promise.resolve({ kind: "already_resolved" });
const SETTLED_BEFORE: Promise<null> = Promise.resolve(null);
