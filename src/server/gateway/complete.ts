import type { Readable } from "node:stream";
import { errors as undiciErrors } from "undici";
import { env } from "#env";
import { noteUse } from "../apps/last-used.ts";
import { QueueFullError } from "../ledger/batcher.ts";
import { debtOf } from "../ledger/debts.ts";
import type { HoldVerdict, Payer, Settlement } from "../ledger/hold.ts";
import { settle, unused } from "../ledger/hold.ts";
import { resolutionOf } from "../ledger/kept.ts";
import { type Ledger, ledger, type Settled } from "../ledger/ledger.ts";
import { refillSandbox } from "../ledger/sandbox.ts";
import { database, type Tx, transaction } from "../platform/db.ts";
import { AppError, noLinkedUser } from "../platform/errors.ts";
import { log } from "../platform/log.ts";
import { affordableOutput, baseCost, markupOn, type TokenUsage, worstCase } from "../pricing/price.ts";
import { type CompletionRequest, type Dialect, LEAST_OUTPUT } from "./dialects/dialect.ts";
import type { EventMeter } from "./dialects/event-meter.ts";
import { appendMember, withMembers } from "./dialects/json-text.ts";
import { couldNotCount } from "./dialects/read.ts";
import { GrowingHold } from "./growth.ts";
import { isSimulated, simulator, type Upstream, upstreamFor } from "./providers.ts";
import { growsWhileItRuns, type Worth, worthOf } from "./share.ts";
import { closedLine, creditsCameBack, waitForCredits } from "./waiting.ts";

/**
 * Buying one completion: quote, hold, call the provider, pass its answer on, settle.
 */
export type Purchase = {
  /** UUIDv7 of the request; its hold and its usage record have the same. */
  id: string;
  /** SHA-256 of the API key, or of the access token when `byToken`. */
  credentialHash: Uint8Array;
  byToken: boolean;
  externalUserId: string | null;
  /** For the usage record: `/v1/chat/completions`. */
  endpoint: string;
  dialect: Dialect;
  request: CompletionRequest;
  /** Aborts when the client hangs up. */
  signal: AbortSignal;
  /**
   * Writes the answer down in the transaction that bills it, so that an
   * Idempotency-Key is never billed twice. Not for streams.
   */
  remember?: (tx: Tx, answer: Answer & { kind: "json" }) => Promise<void>;
};

export type Answer =
  | { kind: "json"; headers: Record<string, string>; body: string }
  /** Has to be read to its end, or its iterator ended: that is when it is billed. */
  | { kind: "stream"; headers: Record<string, string>; body: AsyncIterable<Uint8Array> };

/**
 * Answers one request and bills it. Throws AppError; whatever it throws, nothing was
 * billed, but for `internal_error` after the longest wait for the books, which says so
 * itself. A stream is billed when it ends, however it ends. A price that is named is
 * committed, or on disk until it is.
 */
export async function complete(purchase: Purchase): Promise<Answer> {
  const startedAt = performance.now();
  const books = await ledger();
  const held = await holdShare(books, purchase);
  const sale = new Sale(books, purchase, held, startedAt);
  try {
    return await sale.run();
  } catch (error) {
    await sale.release();
    throw error;
  }
}

/** Requests whose money is still on hold in this process. */
export function openSales(): number {
  return open.size;
}

const shared = globalThis as unknown as { quotaOpenSales?: Set<Sale> };
shared.quotaOpenSales ??= new Set();
const open = shared.quotaOpenSales;

type Held = Extract<HoldVerdict, { kind: "held" }> & {
  /** Whose prices hold, from quote to bill, even past midnight. */
  day: string;
  /** The output limit to send, when it has to be lowered; null to leave the request as it is. */
  outputLimit: number | null;
  /** Tokens of the prompt, at most. */
  promptBound: number;
  /** It pays for a part of what the stream may deliver, and grows as the stream goes on. */
  grows: boolean;
};

async function holdShare(books: Ledger, purchase: Purchase): Promise<Held> {
  const day = today();
  const waits = env.QUOTA_HOLD_WAIT_MS > 0;
  let bound = purchase.request.promptBound;
  // Whoever comes while others of the same payer have waited for long waits behind them, and asks nothing before.
  const line = waits ? closedLine(() => nameInLine(purchase)) : null;
  let verdict = line === null ? await tryHold(books, purchase, bound, day, waits) : await waitInLine(books, purchase, bound, day, line, 0n);
  if (verdict.payer?.apiKeyId) noteUse(verdict.payer.apiKeyId);
  if (verdict.kind === "refused" && isSpentSandbox(purchase, verdict)) {
    await refillSandbox(verdict.payer.walletId);
    verdict = await tryHold(books, purchase, bound, day, waits);
  } else if (verdict.kind === "refused" && isAboutMoney(verdict) && mayFitWithTokenizer(purchase, verdict)) {
    bound = await purchase.dialect.closerPromptBound(purchase.request, verdict.payer?.appId ?? "");
    verdict = await tryHold(books, purchase, bound, day, waits);
  }
  if (verdict.kind === "refused" && verdict.reason === "credits_on_hold" && verdict.payer !== null && waits && line === null) {
    // What comes back to a wallet that owes is not there for requests.
    const owes = await frozen(verdict);
    if (owes !== null) throw owes;
    const { walletId } = verdict.payer;
    verdict = await waitInLine(books, purchase, bound, day, walletId, enoughFor(worthOf(purchase.request, bound, day), verdict));
  }
  if (verdict.kind === "refused") throw (await frozen(verdict)) ?? refusal(verdict, purchase);
  return fitOutput(books, purchase, verdict, bound, day);
}

/** Waits for credits that requests under way hold, and then takes what there is. */
async function waitInLine(books: Ledger, purchase: Purchase, bound: number, day: string, walletId: string, needs: bigint) {
  const waited = await waitForCredits({
    walletId,
    name: nameInLine(purchase),
    needs,
    patienceMs: env.QUOTA_HOLD_WAIT_MS,
    bytes: 2 * purchase.request.text.length,
    signal: purchase.signal,
    ask: async () => {
      const verdict = await tryHold(books, purchase, bound, day, true);
      if (verdict.kind === "held" || verdict.reason !== "credits_on_hold") return { kind: "served", value: verdict };
      return { kind: "short", needs: enoughFor(worthOf(purchase.request, bound, day), verdict), available: verdict.available ?? 0n };
    },
  });
  if (waited !== null) return waited.value;
  // Nothing was bought yet, so nobody needs it any more.
  if (purchase.signal.aborted) throw new AppError("credits_on_hold");
  return tryHold(books, purchase, bound, day, false);
}

/** Requests with the same are paid by the same wallet. */
function nameInLine({ credentialHash, externalUserId }: Purchase): string {
  return `${Buffer.from(credentialHash).toString("base64")} ${externalUserId ?? ""}`;
}

/** Credits with which a request that waits is served: a modest share, or all that the payer has. */
function enoughFor(worth: Worth, { payer, released }: Refused): bigint {
  const share = withMarkup(worth.modest, payer?.markupBps ?? 0);
  return released !== null && released < share ? released : share;
}

async function tryHold(books: Ledger, purchase: Purchase, promptBound: number, day: string, waits: boolean) {
  const worth = worthOf(purchase.request, promptBound, day);
  try {
    return await books.hold({
      id: purchase.id,
      credentialHash: purchase.credentialHash,
      byToken: purchase.byToken,
      externalUserId: purchase.externalUserId,
      model: purchase.request.model.id,
      desiredBase: worth.desired,
      minimumBase: worth.minimum,
      modestBase: worth.modest,
      waits,
      lifetimeMs: holdLifetimeMs(),
    });
  } catch (error) {
    // By name: a page server may have loaded the ledger's files a second time.
    if ((error as Error).name === QueueFullError.name) throw new AppError("overloaded", { headers: { "retry-after": "1" } });
    if ((error as Error).name === "AccountLockedError") {
      throw new AppError("overloaded", {
        message: "This wallet is locked by another operation at the moment. Nothing was billed.",
        headers: { "retry-after": "3" },
      });
    }
    // Nobody knows whether it was committed. If it was, the credits go back at once;
    // if not, there is nothing to settle.
    void books.settle(nothingUsed(purchase, "failed", null, 0), holdLifetimeMs()).catch(() => {});
    throw error;
  }
}

/** How long a hold may stay open: the longest request, and time to settle it. */
function holdLifetimeMs(): number {
  return env.QUOTA_REQUEST_TIMEOUT_MS + 60_000;
}

/** Lowers the output limit to what the hold pays for; gives the hold back when that is too little. */
async function fitOutput(
  books: Ledger,
  purchase: Purchase,
  verdict: Extract<HoldVerdict, { kind: "held" }>,
  promptBound: number,
  day: string,
): Promise<Held> {
  const { dialect, request } = purchase;
  const { model } = request;
  const most = request.askedOutput ?? model.maxOutputTokens;
  let bound = promptBound;
  let affordable = affordablePerChoice(request, verdict, bound, day);
  const isShort = affordable < most && verdict.amount < withMarkup(worthOf(request, bound, day).modest, verdict.payer.markupBps);
  if (isShort && bound > CLOSE_ENOUGH_TOKENS && bound === request.promptBound) {
    // The bytes of a long prompt overstate its tokens; what they took is output again.
    bound = await dialect.closerPromptBound(request, verdict.payer.appId);
    affordable = affordablePerChoice(request, verdict, bound, day);
  }
  const grows = affordable < most && !isShort && growsWhileItRuns(request);
  if (affordable >= most || grows) {
    // A limit above the model's own, or an operator's own model that may not keep to its limit, is named.
    const named = request.outputLimitFields.some((field) => (request.body[field] as number) > most);
    return {
      ...verdict,
      day,
      promptBound: bound,
      grows,
      outputLimit: named || (request.askedOutput === null && model.custom) ? most : null,
    };
  }
  if (affordable < Math.min(most, request.leastOutput)) {
    await books.settle(nothingUsed(purchase, "failed", null, 0), holdLifetimeMs());
    creditsCameBack(verdict.payer.walletId);
    throw couldNotCount(request) ? tooBusyToCount() : new AppError("insufficient_credits");
  }
  return { ...verdict, day, promptBound: bound, grows, outputLimit: affordable };
}

const CLOSE_ENOUGH_TOKENS = 1_000;

function affordablePerChoice(request: CompletionRequest, held: { amount: bigint; payer: Payer }, promptBound: number, day: string): number {
  const { model, cacheWrites } = request;
  const tokens = affordableOutput(model, promptBound, held.amount, held.payer.markupBps, day, cacheWrites) - request.predictionBytes;
  return Math.floor(tokens / request.choices);
}

type Refused = Extract<HoldVerdict, { kind: "refused" }>;

/** Play credits are made when they are wanted; only the id that stands for an empty wallet has none. */
function isSpentSandbox(purchase: Purchase, verdict: Refused): verdict is Refused & { payer: Payer } {
  return verdict.payer?.billingMode === "test" && isAboutMoney(verdict) && purchase.externalUserId !== "sandbox_empty";
}

function isAboutMoney(verdict: Refused): boolean {
  return ["insufficient_credits", "spending_limit_reached", "credits_on_hold"].includes(verdict.reason);
}

/** Counting tokens costs time, so it is done only where it could turn a refusal round. */
function mayFitWithTokenizer({ request }: Purchase, verdict: Refused): boolean {
  if (request.promptBound <= LEAST_OUTPUT || verdict.available === null) return false;
  // What others hold comes back sooner than a short prompt is counted.
  if (verdict.reason === "credits_on_hold" && request.promptBound <= CLOSE_ENOUGH_TOKENS) return false;
  const optimistic = worstCase(
    request.model,
    Math.floor(request.promptBound / 10),
    Math.min(request.askedOutput ?? LEAST_OUTPUT, LEAST_OUTPUT),
    today(),
    request.cacheWrites,
  );
  return optimistic <= verdict.available;
}

/** A wallet that owes has nothing to spend, and its person wants to know why. */
async function frozen(verdict: Refused): Promise<AppError | null> {
  if (!["insufficient_credits", "credits_on_hold"].includes(verdict.reason) || verdict.payer === null) return null;
  const debt = await debtOf((await database()).sql, verdict.payer.walletId);
  if (debt === 0n) return null;
  return new AppError("insufficient_credits", {
    message: `This wallet is frozen: a refund or dispute left ${verdict.payer.mayReadBalance ? dollars(debt) : "an amount"} open. Adding credits repays that first.`,
    detail: { reason: verdict.reason, payer: verdict.payer },
  });
}

function refusal(verdict: Refused, { request, externalUserId }: Purchase): AppError {
  if (isAboutMoney(verdict) && couldNotCount(request)) return tooBusyToCount();
  const detail = { reason: verdict.reason, payer: verdict.payer };
  if (verdict.reason === "credits_on_hold") return onHold(verdict, detail);
  // Figures are for those who may see the balance.
  if (isAboutMoney(verdict) && verdict.available !== null && verdict.needed !== null && verdict.payer?.mayReadBalance === true) {
    const whose = verdict.reason === "spending_limit_reached" ? "The monthly limit this person set for your app has" : "This wallet has";
    return new AppError(verdict.reason, {
      message: `${whose} ${dollars(verdict.available)} left and the request may need ${dollars(verdict.needed)}.${verdict.reason === "insufficient_credits" ? " Add credits to continue." : ""}`,
      detail,
    });
  }
  if (verdict.reason === "model_not_allowed") {
    return new AppError("model_not_allowed", { message: `The model ${request.model.id} is not allowed here.`, param: "model", detail });
  }
  if (verdict.reason === "not_found" && externalUserId !== null) return noLinkedUser({ ...detail, external_user_id: externalUserId });
  return new AppError(verdict.reason, { detail });
}

/** Nothing has to be added: what is missing comes back when requests that are running end. */
function onHold({ payer, available, needed, released }: Refused, detail: unknown): AppError {
  const headers = { "retry-after": String(secondsUntilSomeEnd()) };
  // Figures are for those who may see the balance.
  if (payer?.mayReadBalance !== true || available === null || needed === null || released === null) {
    return new AppError("credits_on_hold", { headers, detail });
  }
  const held = released - available;
  return new AppError("credits_on_hold", {
    message: `Requests that are running hold ${dollars(held)}; ${dollars(available)} is free, and this request may need ${dollars(needed)}.`,
    members: { held: Number(held) },
    headers,
    detail,
  });
}

/** In seconds: as long as a request of this process takes these days, and at most a minute. */
function secondsUntilSomeEnd(): number {
  return Math.min(60, Math.max(1, Math.ceil(usual.durationMs / 1_000)));
}

/** A moving average over the requests that ended. */
const usual = { durationMs: 1_000 };

/** The wallet may have enough: the prompt costs less than its bytes say, but how much less nobody could tell in time. */
function tooBusyToCount(): AppError {
  return new AppError("overloaded", { headers: { "retry-after": "5" } });
}

/** `$0.02`, exact to the micro-dollar where cents would say nothing. */
function dollars(credits: bigint): string {
  const fraction = (credits % 1_000_000n)
    .toString()
    .padStart(6, "0")
    .replace(/0{1,4}$/, "");
  return `$${credits / 1_000_000n}.${fraction}`;
}

function withMarkup(base: bigint, markupBps: number): bigint {
  return base + markupOn(base, markupBps);
}

/** Prices change at midnight UTC. */
function today(): string {
  const number = Math.floor(Date.now() / 86_400_000);
  if (number !== thisDay.number) thisDay = { number, text: new Date(number * 86_400_000).toISOString().slice(0, 10) };
  return thisDay.text;
}

let thisDay = { number: -1, text: "" };

/** One request with money on hold. It ends in exactly one of: billed, released. */
class Sale {
  readonly #books: Ledger;
  readonly #purchase: Purchase;
  readonly #held: Held;
  readonly #startedAt: number;
  readonly #abort = new AbortController();
  readonly #growing: GrowingHold | null;
  readonly #timer: NodeJS.Timeout;
  #timedOut = false;
  #ended = false;
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
    const { dialect, request } = this.#purchase;
    const upstream = await this.#findUpstream();
    this.#upstream = upstream;
    let response: Awaited<ReturnType<Upstream["pool"]["request"]>>;
    try {
      response = await upstream.pool.request({
        method: "POST",
        path: upstream.pathPrefix + dialect.upstreamPath,
        headers: dialect.headers(request, upstream),
        body: this.#upstreamBody(upstream),
        signal: this.#abort.signal,
      });
    } catch (error) {
      throw this.#unreachable(error);
    }
    this.#upstreamStatus = response.statusCode;
    if (response.statusCode < 200 || response.statusCode > 299) throw await this.#upstreamRefusal(response);
    if (request.stream && isEventStream(response.headers["content-type"])) {
      if (this.#purchase.signal.aborted) throw this.#unreachable(this.#purchase.signal.reason);
      this.#unread = true;
      return {
        kind: "stream",
        headers: {
          ...this.#headers(),
          "content-type": "text/event-stream; charset=utf-8",
          "cache-control": "no-store, no-cache, no-transform",
          "x-accel-buffering": "no",
        },
        body: this.#stream(response.body),
      };
    }
    return this.#json(response.body);
  }

  /** Gives everything back. Does nothing once the sale has ended. */
  async release(outcome: "failed" | "interrupted" = "failed"): Promise<void> {
    if (!this.#end()) return;
    const nothing = nothingUsed(this.#purchase, outcome, this.#upstream, this.#durationMs(), this.#upstreamStatus);
    const returned = this.#books.settle(nothing, holdLifetimeMs()).finally(() => this.#close());
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, SETTLE_PATIENCE_MS);
    });
    // A failure was logged by the ledger, which has given up; the sweeper returns the credits.
    await Promise.race([returned.catch(() => {}), patience]);
    clearTimeout(timer);
  }

  async #findUpstream(): Promise<Upstream> {
    if (this.#held.payer.billingMode === "test" || isSimulated()) return simulator();
    const upstream = upstreamFor(this.#purchase.request.model.provider);
    if (upstream === null)
      throw new AppError("provider_unavailable", {
        message: `This server has no access to the provider of ${this.#purchase.request.model.id}.`,
      });
    return upstream;
  }

  /** The app's own bytes, but for what billing has to change. */
  #upstreamBody(upstream: Upstream): string {
    const { dialect, request } = this.#purchase;
    const changes = dialect.changes(request, upstream, this.#held.outputLimit);
    if (request.model.upstreamId !== request.model.id && upstream.provider !== "simulator")
      changes.model = JSON.stringify(request.model.upstreamId);
    return Object.keys(changes).length === 0 ? request.text : withMembers(request.text, request.members, changes);
  }

  async #json(body: Readable & { text(): Promise<string> }): Promise<Answer> {
    const { dialect } = this.#purchase;
    let text: string | null;
    try {
      text = await readAnswer(body);
    } catch (error) {
      throw this.#unreachable(error);
    }
    if (text === null)
      throw new AppError("upstream_error", {
        message: `The model's provider sent an answer of more than ${LARGEST_ANSWER_BYTES} bytes. Nothing was billed. Ask for fewer choices or log probabilities, or for a stream.`,
      });
    const parsed = parseObject(text);
    if (parsed === null)
      throw new AppError("upstream_error", { message: "The model's provider sent an answer that is not JSON. Nothing was billed." });
    if ((parsed.error ?? null) !== null || !dialect.isAnswer(parsed)) {
      // Some providers report a failure with status 200.
      throw new AppError("upstream_error", { message: "The model's provider sent no answer. Nothing was billed." });
    }
    const reported = dialect.readUsage(parsed);
    const usage = reported ?? (await this.#count(dialect.countAnswer(parsed, this.#held.payer.appId)));
    const settlement = this.#settlement(usage, "completed", reported === null ? "tokenizer" : "provider");
    await this.#growing?.pay(settlement.base + settlement.markup);
    const answer = (verdict: Settled | null): Answer & { kind: "json" } => ({
      kind: "json",
      headers: { ...this.#headers(), "content-type": "application/json; charset=utf-8" },
      body: appendMember(text, "quota", this.#quota(verdict, settlement)),
    });
    const { remember } = this.#purchase;
    if (remember === undefined) {
      this.#end();
      return answer(await this.#settle(settlement));
    }
    // Billing and remembering commit together. On failure the sale is still open and gets released.
    const remembered = await this.#billAndRemember(settlement, remember, answer);
    this.#end();
    this.#close();
    return remembered;
  }

  /**
   * Repeated while the database is away, as long as the hold lives: the answer is there
   * and has been paid for, and nothing is named or kept before the bill is committed.
   */
  async #billAndRemember(
    settlement: Settlement,
    remember: NonNullable<Purchase["remember"]>,
    answer: (verdict: Settled | null) => Answer & { kind: "json" },
  ): Promise<Answer> {
    const giveUpAt = performance.now() + holdLifetimeMs();
    for (let pauseMs = 200; ; pauseMs = Math.min(pauseMs * 2, 5_000)) {
      try {
        return await transaction(async (tx) => {
          const [verdict] = await settle(tx, [settlement]);
          if (verdict?.kind === "already_resolved") {
            const earlier = await resolutionOf(tx, settlement.id);
            // An earlier attempt was committed unheard, and its answer with it.
            if (earlier?.outcome === settlement.outcome) return answer({ kind: "settled", charged: earlier.charged, balanceAfter: null });
          }
          // Without a hold, because the sweeper came first, the answer is free, as it is without a key.
          const billed = answer(verdict ?? { kind: "unknown_hold" });
          await remember(tx, billed);
          return billed;
        });
      } catch (error) {
        // Another request has the key now: this one's bill was rolled back and may not be tried again.
        if (error instanceof AppError) throw error;
        log.error("settle failed", { request_id: settlement.id, error });
        if (performance.now() + pauseMs > giveUpAt) throw unbilled(error);
        await new Promise((resolve) => setTimeout(resolve, pauseMs));
      }
    }
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
    try {
      for await (const chunk of body.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
        const through = meter.push(chunk);
        if (through !== null) yield through;
        // The provider is not read on before what it said is paid for.
        if (growing !== null) yield* this.#extend(growing, meter);
        if (meter.failure !== null || meter.done || meter.isFull) break;
      }
      const rest = meter.isFull ? null : meter.end();
      if (rest !== null) yield rest;
      if (growing !== null && !meter.isFull) yield* this.#extend(growing, meter);
      yield await (meter.isFull ? this.#cutShort(meter, body) : this.#finishStream(meter));
    } catch (error) {
      if (this.#purchase.signal.aborted) return;
      if (!this.#ended && meter.failure === null && meter.finished && meter.usage !== null) {
        // All was said and counted; only the end of the stream got lost.
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
      // Reached with the sale still open only when the client hung up, or time ran out.
      if (!this.#ended && this.#purchase.request.onlyProviderCounts) await drain(body, meter);
      await this.#billInterrupted(meter);
      leave(body, meter.done);
    }
  }

  /** The stream came to its end: bill it and say what it cost. */
  async #finishStream(meter: EventMeter): Promise<Buffer> {
    if (meter.failure !== null) throw this.#failedInStream(meter.failure);
    if (!meter.done && !meter.finished)
      throw new AppError("upstream_error", { message: "The model's provider broke off its answer. Nothing was billed." });
    const usage = meter.usage ?? (await this.#count(meter.completedTokens(), meter.promptUsage));
    const outcome = this.#purchase.signal.aborted ? "interrupted" : "completed";
    const settlement = this.#settlement(usage, outcome, meter.usage === null ? "tokenizer" : "provider");
    await this.#growing?.pay(settlement.base + settlement.markup);
    this.#end();
    const verdict = await this.#settle(settlement);
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
    const usage = meter.usage ?? (await this.#count(meter.completedTokens(), meter.promptUsage));
    const settlement = this.#settlement(usage, "completed", meter.usage === null ? "tokenizer" : "provider");
    this.#end();
    const verdict = await this.#settle(settlement);
    return meter.cutShort(usage, this.#quota(verdict, settlement));
  }

  /** The client hung up: what it got is billed, the rest of the hold goes back. */
  async #billInterrupted(meter: EventMeter): Promise<void> {
    if (!this.#end()) return;
    const usage = meter.usage ?? (await this.#count(meter.deliveredTokens(), meter.promptUsage));
    // Nobody waits for the price. A failure was logged by the ledger.
    await this.#settle(this.#settlement(usage, "interrupted", meter.usage === null ? "tokenizer" : "provider")).catch(() => {});
  }

  /** For a provider that reported no usage, or half of it. */
  async #count(answer: Promise<number>, reported: EventMeter["promptUsage"] = null): Promise<TokenUsage> {
    const { dialect, request } = this.#purchase;
    const [promptTokens, completionTokens] = await Promise.all([
      reported?.promptTokens ?? dialect.countPrompt(request, this.#held.payer.appId),
      answer,
    ]);
    return { cachedTokens: 0, cacheWriteTokens: 0, ...reported, promptTokens, completionTokens };
  }

  /** True the first time. */
  #end(): boolean {
    if (this.#ended) return false;
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#purchase.signal.removeEventListener("abort", this.#onHangUp);
    usual.durationMs += (this.#durationMs() - usual.durationMs) / 16;
    return true;
  }

  /** The books are done with it, and what it did not use is there for others. */
  #close(): void {
    open.delete(this);
    creditsCameBack(this.#held.payer.walletId);
  }

  /**
   * Null when the database takes too long: the bill is on disk then, and the answer goes
   * out without a balance. Throws when it could be written nowhere as long as the hold lived.
   */
  async #settle(settlement: Settlement): Promise<Settled | null> {
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

  #settlement(usage: TokenUsage, outcome: "completed" | "interrupted", countedBy: "provider" | "tokenizer"): Settlement {
    const base = baseCost(this.#purchase.request.model, usage, this.#held.day);
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
    const { payer } = this.#held;
    const settled = verdict?.kind === "settled" ? verdict : null;
    // The sweeper came first: nothing was billed. Without a verdict the bill is on disk.
    const charged = settled?.charged ?? (verdict === null ? this.#billOf(settlement) : 0n);
    const user = this.#purchase.externalUserId === null ? "" : `,"external_user_id":${JSON.stringify(this.#purchase.externalUserId)}`;
    return `{"credits_used":${charged},"balance_after":${payer.mayReadBalance ? (settled?.balanceAfter ?? null) : null},"billing_mode":"${payer.billingMode}"${user}}`;
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
    if (error instanceof AppError) return error;
    if (this.#timedOut || error instanceof undiciErrors.HeadersTimeoutError || error instanceof undiciErrors.BodyTimeoutError) {
      return new AppError("gateway_timeout", { cause: error });
    }
    return new AppError("upstream_error", { cause: error, detail: { provider: this.#upstream?.provider } });
  }

  #failedInStream(failure: { message: string; status: number | null }): AppError {
    return new AppError(failure.status === 429 ? "rate_limit" : "upstream_error", {
      message: `The model's provider failed in the middle of its answer. Nothing was billed.`,
      detail: { status: failure.status },
    });
  }

  async #upstreamRefusal(response: Awaited<ReturnType<Upstream["pool"]["request"]>>): Promise<AppError> {
    const text = await readStart(response.body);
    const said = parseObject(text)?.error ?? parseObject(text);
    const { message, param, code } = (typeof said === "object" && said !== null ? said : {}) as Record<string, unknown>;
    // Not what it said: that may repeat the prompt.
    const detail = { provider: this.#upstream?.provider, status: response.statusCode, code };
    const status = response.statusCode;
    if (status === 429) {
      const retryAfter = response.headers["retry-after"];
      return new AppError("rate_limit", { headers: typeof retryAfter === "string" ? { "retry-after": retryAfter } : {}, detail });
    }
    // These are about the request itself, and the app can mend it. Others, such as
    // 401, are about this server's own account with the provider.
    if ([400, 409, 413, 415, 422].includes(status) && typeof message === "string") {
      return new AppError("bad_request", {
        status,
        message,
        param: typeof param === "string" ? param : null,
        upstreamCode: typeof code === "string" ? code : undefined,
        detail,
      });
    }
    return new AppError("upstream_error", { message: `The model's provider failed with status ${status}. Nothing was billed.`, detail });
  }

  #durationMs(): number {
    return performance.now() - this.#startedAt;
  }
}

const SETTLE_PATIENCE_MS = 10_000;

/** No price is named, because nobody knows whether a statement that got no answer is committed in the end. */
function unbilled(cause: unknown): AppError {
  return new AppError("internal_error", {
    message: "The books could not be written in time, so this request has no price. If it is billed after all, GET /v1/usage shows it.",
    cause,
  });
}

function nothingUsed(
  purchase: Purchase,
  outcome: Settlement["outcome"],
  upstream: Upstream | null,
  durationMs: number,
  upstreamStatus: number | null = null,
): Settlement {
  return {
    ...unused(purchase.id, outcome, purchase.endpoint),
    provider: upstream?.provider ?? null,
    streamed: purchase.request.stream,
    upstreamStatus,
    durationMs,
  };
}

function isEventStream(contentType: string | string[] | undefined): boolean {
  return String(contentType ?? "")
    .toLowerCase()
    .startsWith("text/event-stream");
}

function parseObject(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

/** Reads what is left of a stream that nobody wants any more, for the provider's count at its end. */
async function drain(body: Readable, meter: EventMeter): Promise<void> {
  try {
    for await (const chunk of body.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      meter.push(chunk);
      if (meter.done || meter.failure !== null) return;
    }
  } catch {
    // Whatever came until now is what there is to count.
  }
}

/**
 * Ends with a stream. After `[DONE]` only the end of the body is to come, and a
 * connection whose answer came to its end serves the next request.
 */
function leave(body: Readable, isDone: boolean): void {
  body.on("error", () => {});
  if (!isDone) return void body.destroy();
  const timer = setTimeout(() => body.destroy(), LAST_BYTES_MS).unref();
  body.once("close", () => clearTimeout(timer)).resume();
}

const LAST_BYTES_MS = 1_000;

/** More could not be parsed without holding up everybody else; 16,000 tokens with all their log probabilities are less. */
const LARGEST_ANSWER_BYTES = 32 * 1024 * 1024;

const utf8 = new TextDecoder();

/** A whole answer; null when it is larger than any may be, of which no more is read. */
function readAnswer(body: Readable): Promise<string | null> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let size = 0;
    let ended = false;
    body.on("data", (part: Buffer) => {
      parts.push(part);
      size += part.length;
      if (size <= LARGEST_ANSWER_BYTES) return;
      parts.length = 0;
      ended = true;
      resolve(null);
      body.destroy();
    });
    body.on("end", () => {
      ended = true;
      resolve(utf8.decode(parts.length === 1 ? parts[0] : Buffer.concat(parts)));
    });
    body.on("error", reject);
    // Every answer closes, and an error with its stack costs more than all else here.
    body.on("close", () => ended || reject(new Error("the answer broke off")));
  });
}

/** The first 64 kB of an error; a provider's error page may be of any size. */
async function readStart(body: Readable): Promise<string> {
  const parts: Buffer[] = [];
  let size = 0;
  try {
    for await (const part of body as AsyncIterable<Buffer>) {
      parts.push(part);
      size += part.length;
      if (size > 64 * 1024) break;
    }
  } catch {
    // What came is enough to tell.
  }
  body.on("error", () => {}).destroy();
  return Buffer.concat(parts).toString("utf8");
}
