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
import { frozen, isAboutMoney, type Refused, refusal, tooBusyToCount } from "./refusals.ts";
import { growsWhileItRuns, type Worth, worthOf } from "./share.ts";
import { closedLine, creditsCameBack, waitForCredits } from "./waiting.ts";

/**
 * Puts on hold what a purchase may cost, and says how much output that pays for. Throws
 * AppError when nobody pays; nothing is on hold then.
 */
export async function reserve(books: Ledger, purchase: Purchase): Promise<Held> {
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

/** Play credits are made when they are wanted; only the id that stands for an empty wallet has none. */
function isSpentSandbox(purchase: Purchase, verdict: Refused): verdict is Refused & { payer: Payer } {
  return verdict.payer?.billingMode === "test" && isAboutMoney(verdict) && purchase.externalUserId !== "sandbox_empty";
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
