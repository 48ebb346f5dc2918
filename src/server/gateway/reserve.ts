import { env } from "#env";
import { noteUse } from "../apps/last-used.ts";
import { QueueFullError } from "../ledger/batcher.ts";
import type { HoldVerdict, Payer } from "../ledger/hold.ts";
import type { Ledger } from "../ledger/ledger.ts";
import { refillSandbox } from "../ledger/sandbox.ts";
import { AppError } from "../platform/errors.ts";
import { affordableOutput, markupOn, worstCase } from "../pricing/price.ts";
import { type CompletionRequest, LEAST_OUTPUT } from "./dialects/dialect.ts";
import { couldNotCount } from "./dialects/prompt.ts";
import { type Held, holdLifetimeMs, nothingUsed, type Purchase } from "./purchase.ts";
import { frozenWalletError, isAboutMoney, type Refused, refusal, tooBusyToCount } from "./refusals.ts";
import { growsWhileItRuns, type HoldSizes, holdSizes } from "./share.ts";
import { closedQueue, creditsCameBack, waitForCredits } from "./waiting.ts";

/**
 * Puts on hold what a purchase may cost, and returns how much output the hold pays for.
 * Throws AppError when the hold is refused; nothing is on hold then.
 */
export async function reserve(books: Ledger, purchase: Purchase): Promise<Held> {
  const day = today();
  const waits = env.QUOTA_HOLD_WAIT_MS > 0;
  let bound = purchase.request.promptBound;
  // When the payer's queue is closed, the request joins it without asking the ledger first, so that it passes no waiter.
  const queue = waits ? closedQueue(() => queueName(purchase)) : null;
  let verdict =
    queue === null ? await tryHold(books, purchase, bound, day, waits) : await waitInQueue(books, purchase, bound, day, queue, 0n);
  if (verdict.payer?.apiKeyId) noteUse(verdict.payer.apiKeyId);
  if (verdict.kind === "refused" && isSpentSandbox(purchase, verdict)) {
    await refillSandbox(verdict.payer.walletId);
    verdict = await tryHold(books, purchase, bound, day, waits);
  } else if (verdict.kind === "refused" && isAboutMoney(verdict) && mayFitWithTokenizer(purchase, verdict)) {
    bound = await purchase.dialect.closerPromptBound(purchase.request, verdict.payer?.appId ?? "");
    verdict = await tryHold(books, purchase, bound, day, waits);
  }
  if (verdict.kind === "refused" && verdict.reason === "credits_on_hold" && verdict.payer !== null && waits && queue === null) {
    // Credits that return to a wallet with a debt repay the debt, so waiting for them is in vain.
    const owes = await frozenWalletError(verdict);
    if (owes !== null) throw owes;
    const { walletId } = verdict.payer;
    verdict = await waitInQueue(books, purchase, bound, day, walletId, enoughFor(holdSizes(purchase.request, bound, day), verdict));
  }
  if (verdict.kind === "refused") throw (await frozenWalletError(verdict)) ?? refusal(verdict, purchase);
  return fitOutput(books, purchase, verdict, bound, day);
}

/** Waits for credits that running requests hold; after QUOTA_HOLD_WAIT_MS it takes what is available, or is refused. */
async function waitInQueue(books: Ledger, purchase: Purchase, bound: number, day: string, walletId: string, needs: bigint) {
  const waited = await waitForCredits({
    walletId,
    name: queueName(purchase),
    needs,
    patienceMs: env.QUOTA_HOLD_WAIT_MS,
    bytes: 2 * purchase.request.text.length,
    signal: purchase.signal,
    ask: async () => {
      const verdict = await tryHold(books, purchase, bound, day, true);
      if (verdict.kind === "held" || verdict.reason !== "credits_on_hold") return { kind: "served", value: verdict };
      return { kind: "short", needs: enoughFor(holdSizes(purchase.request, bound, day), verdict), available: verdict.available ?? 0n };
    },
  });
  if (waited !== null) return waited.value;
  // The client hung up before anything was on hold; no answer is sent.
  if (purchase.signal.aborted) throw new AppError("credits_on_hold");
  return tryHold(books, purchase, bound, day, false);
}

/** Requests with equal names have the same payer. */
function queueName({ credentialHash, externalUserId }: Purchase): string {
  return `${Buffer.from(credentialHash).toString("base64")} ${externalUserId ?? ""}`;
}

/** Credits that end a request's wait: its share, or all that the payer has when that is less. */
function enoughFor(sizes: HoldSizes, { payer, released }: Refused): bigint {
  const share = withMarkup(sizes.modest, payer?.markupBps ?? 0);
  return released !== null && released < share ? released : share;
}

async function tryHold(books: Ledger, purchase: Purchase, promptBound: number, day: string, waits: boolean) {
  const sizes = holdSizes(purchase.request, promptBound, day);
  try {
    return await books.hold({
      id: purchase.id,
      credentialHash: purchase.credentialHash,
      byToken: purchase.byToken,
      externalUserId: purchase.externalUserId,
      model: purchase.request.model.id,
      desiredBase: sizes.desired,
      minimumBase: sizes.minimum,
      modestBase: sizes.modest,
      waits,
      lifetimeMs: holdLifetimeMs(),
    });
  } catch (error) {
    // By name, not by class: Next.js may have loaded the ledger's module a second time.
    if ((error as Error).name === QueueFullError.name) throw new AppError("overloaded", { headers: { "retry-after": "1" } });
    if ((error as Error).name === "AccountLockedError") {
      throw new AppError("overloaded", {
        message: "This wallet is locked by another operation at the moment. Nothing was billed.",
        headers: { "retry-after": "3" },
      });
    }
    // The hold may have been committed. This returns its credits at once; without a
    // hold it settles nothing.
    void books.settle(nothingUsed(purchase, "failed", null, 0), holdLifetimeMs()).catch(() => {});
    throw error;
  }
}

/** Lowers the output limit to what the hold pays for. When that is below `leastOutput`, it returns the hold and throws AppError. */
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
  const isShort = affordable < most && verdict.amount < withMarkup(holdSizes(request, bound, day).modest, verdict.payer.markupBps);
  if (isShort && bound > CLOSE_ENOUGH_TOKENS && bound === request.promptBound) {
    // The bound by bytes overstates a long prompt's tokens; a closer one leaves more for output.
    bound = await dialect.closerPromptBound(request, verdict.payer.appId);
    affordable = affordablePerChoice(request, verdict, bound, day);
  }
  const grows = affordable < most && !isShort && growsWhileItRuns(request);
  if (affordable >= most || grows) {
    // The limit is sent when the request's is above the model's own, and for an operator's own model, which may not enforce one.
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

/** A sandbox wallet is refilled when it is empty, except that of `sandbox_empty`, with which apps test an empty wallet. */
function isSpentSandbox(purchase: Purchase, verdict: Refused): verdict is Refused & { payer: Payer } {
  return verdict.payer?.billingMode === "test" && isAboutMoney(verdict) && purchase.externalUserId !== "sandbox_empty";
}

/** Whether a tokenizer's count could lower a refused request's cost below the balance. Counting takes time, so it is done only then. */
function mayFitWithTokenizer({ request }: Purchase, verdict: Refused): boolean {
  if (request.promptBound <= LEAST_OUTPUT || verdict.available === null) return false;
  // Waiting for credits on hold gains more than a closer count of a short prompt.
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
