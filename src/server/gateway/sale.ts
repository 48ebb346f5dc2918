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
  decoded,
  drain,
  EVENT_STREAM_HEADERS,
  findUpstream,
  isEventStream,
  LastWait,
  leave,
  parseAnswer,
  readAnswer,
  type UpstreamResponse,
} from "./upstream.ts";
import { creditsCameBack } from "./waiting.ts";

/** Requests whose money is still on hold in this process. */
export function openSales(): number {
  return open.size;
}

const open = processWide("open sales", () => new Set<Sale>());

/** How a sale ends. */
type Ending =
  /** The answer is complete, and its price is known. */
  | { how: "answered"; settlement: Settlement }
  /** Its bill and its answer were committed together. */
  | { how: "remembered" }
  /** The client left a stream, or its time was over: what was delivered is billed. */
  | { how: "interrupted"; meter: EventMeter }
  /** Nothing is billed. */
  | { how: "released"; outcome: "failed" | "interrupted" };

/**
 * One request with money on hold, which ends once:
 *
 *   open ──ended(how)──► told to the books ──► closed
 *
 * A sale is open from its hold on. What happens first of the four endings is told to the
 * books, and every later one does nothing. It is closed when the books are done with it.
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
  /** A stream was made and nobody has begun to read it. */
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
    // An idempotent request runs to its end even when nobody waits for it any
    // more: its answer is kept for whoever asks again.
    if (purchase.remember === undefined) {
      if (purchase.signal.aborted) this.#abort.abort();
      else purchase.signal.addEventListener("abort", this.#onHangUp, { once: true });
    }
  }

  readonly #onHangUp = () => {
    // What only the provider can count is read to its end, and billed as it counts.
    if (this.#streaming && this.#purchase.request.onlyProviderCounts) return;
    this.#abort.abort();
    // A generator that was never started can't clean up after itself.
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

  /** Gives everything back, and waits for that at most ten seconds. Does nothing once the sale has ended. */
  async release(outcome: "failed" | "interrupted" = "failed"): Promise<void> {
    await this.#ended({ how: "released", outcome });
  }

  /**
   * Every end of a sale goes through here, and the first one counts. What the books say of
   * it; null when they say nothing, or not yet: the bill is on disk. Rejects when a bill
   * could be written nowhere as long as the hold lived. Makes no promise of its own, because
   * every request comes by.
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
        return TOLD_ALREADY;
      case "interrupted":
        return this.#billDelivered(by.meter);
      case "released":
        return this.#giveBack(by.outcome);
    }
  }

  /**
   * Null when the database takes too long: the bill is on disk then, and the answer goes
   * out without a balance. Throws when it could be written nowhere as long as the hold lived.
   */
  async #bill(settlement: Settlement): Promise<Settled | null> {
    try {
      const lifetimeMs = holdLifetimeMs();
      // A price that only the books can tell is not named before they have it.
      if (this.#billOf(settlement) === null) {
        const told = await this.#books.settle(settlement, lifetimeMs);
        this.#close();
        return told;
      }
      const settled = await this.#books.settleOrKeep(settlement, { lifetimeMs, patienceMs: SETTLE_PATIENCE_MS });
      // What is on disk gives nothing back yet.
      if (settled === null) open.delete(this);
      else this.#close();
      return settled;
    } catch (error) {
      this.#close();
      throw unbilled(error);
    }
  }

  /** The client hung up: what it got is billed, the rest of the hold goes back. */
  async #billDelivered(meter: EventMeter): Promise<Settled | null> {
    const usage = meter.usage ?? (await countUsage(this.#purchase, this.#held.payer, meter.deliveredTokens(), meter.promptUsage));
    // Nobody waits for the price. A failure was logged by the ledger.
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
    // A failure was logged by the ledger, which has given up; the sweeper returns the credits.
    await Promise.race([returned.catch(() => {}), patience]);
    clearTimeout(timer);
    return null;
  }

  /** The books are done with it, and what it did not use is there for others. */
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
    // Billing and remembering commit together. On failure the sale is still open and gets released.
    const remembered = await billAndRemember(settlement, remember, answer);
    await this.#ended({ how: "remembered" });
    return remembered;
  }

  /**
   * The answer as it comes. Whoever reads it may stop at any time, by ending the
   * iterator or by aborting the purchase's signal.
   */
  async *#stream(body: Readable): AsyncGenerator<Uint8Array, void, void> {
    this.#unread = false;
    this.#streaming = true;
    const meter = this.#purchase.dialect.watch(this.#purchase.request, this.#held.payer.appId);
    const growing = this.#growing;
    growing?.begin(meter);
    const lastWait = new LastWait(body, meter);
    try {
      for await (const chunk of body.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
        lastWait.stop();
        const through = meter.push(chunk);
        if (through !== null) yield through;
        // The provider is not read on before what it said is paid for.
        if (growing !== null) yield* this.#extend(growing, meter);
        if (meter.failure !== null || meter.done || meter.isFull) break;
        lastWait.begin();
      }
      lastWait.stop();
      const rest = meter.isFull ? null : meter.end();
      if (rest !== null) yield rest;
      if (growing !== null && !meter.isFull) yield* this.#extend(growing, meter);
      yield await (meter.isFull ? this.#cutShort(meter, body) : this.#finishStream(meter));
    } catch (error) {
      if (this.#purchase.signal.aborted) return;
      if (!this.#hasEnded && meter.failure === null && meter.finished && (meter.usage !== null || lastWait.isOver)) {
        // All was said, and counted or waited for; only the end of the stream is missing.
        yield await this.#finishStream(meter);
        return;
      }
      if (this.#timedOut) {
        // Our own limit, not the provider's failure: a client could bring it about by reading slowly.
        const outOfTime = { message: "This request took longer than it may; what was delivered was billed." };
        yield meter.failing(new AppError("gateway_timeout", outOfTime));
        return;
      }
      const failure = error instanceof AppError ? error : this.#unreachable(error);
      await this.release();
      log.warn("stream failed", { request_id: this.#purchase.id, error: failure });
      // The status is long sent.
      yield meter.failing(failure);
    } finally {
      lastWait.stop();
      // Reached with the sale still open only when the client hung up, or time ran out.
      if (!this.#hasEnded) {
        if (this.#purchase.request.onlyProviderCounts) await drain(body, meter);
        await this.#ended({ how: "interrupted", meter });
      }
      leave(body, meter.done);
    }
  }

  /** The stream came to its end: bill it and say what it cost. */
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

  /** Has the hold grow by what the meter keeps back; when it can't, the meter stays full. */
  async *#extend(growing: GrowingHold, meter: EventMeter): AsyncGenerator<Uint8Array, void, void> {
    growing.lookAhead(meter);
    while (meter.isFull) {
      const through = await growing.extend(meter);
      if (through === null) return;
      if (through.length > 0) yield through;
    }
  }

  /** Nobody pays for more: the stream ends as it does at a limit of its output, and what was delivered is billed. */
  async #cutShort(meter: EventMeter, body: Readable): Promise<Buffer> {
    if (this.#abort.signal.aborted) throw this.#unreachable(this.#abort.signal.reason);
    leave(body, false);
    const usage = meter.usage ?? (await countUsage(this.#purchase, this.#held.payer, meter.completedTokens(), meter.promptUsage));
    const settlement = this.#settlement(usage, "completed", meter.usage === null ? "tokenizer" : "provider", meter.tier);
    const verdict = await this.#ended({ how: "answered", settlement });
    return meter.cutShort(usage, this.#quota(verdict, settlement));
  }

  /** `tier`: the one that served the request, as the provider says; where it says nothing, the one that was asked for. */
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
    // The sweeper came first: nothing was billed. Without a verdict the bill is on disk.
    const charged = settled?.charged ?? (verdict === null ? this.#billOf(settlement) : 0n);
    return quotaMember(this.#purchase, this.#held.payer, charged, settled?.balanceAfter ?? null);
  }

  /** What the ledger will bill: never more than is on hold. null when only the ledger knows how much that is. */
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

/** As the books would answer. */
const ENDED_BEFORE: Promise<Settled> = Promise.resolve({ kind: "already_resolved" });
const TOLD_ALREADY: Promise<null> = Promise.resolve(null);
