import { errors as undiciErrors } from "undici";
import { exactDollars } from "#money";
import { debtOf } from "../ledger/debts.ts";
import type { HoldVerdict } from "../ledger/hold.ts";
import { database } from "../platform/db.ts";
import { AppError, noLinkedUser } from "../platform/errors.ts";
import { couldNotCount } from "./dialects/prompt.ts";
import type { Purchase } from "./purchase.ts";

/*
 * The errors that clients get: when a hold is refused, when the provider fails, and when
 * the ledger can't be written.
 */

export type Refused = Extract<HoldVerdict, { kind: "refused" }>;

/** Whether a smaller request, or more credits, would have been granted. */
export function isAboutMoney(verdict: Refused): boolean {
  return ["insufficient_credits", "spending_limit_reached", "credits_on_hold"].includes(verdict.reason);
}

/** The error for a refusal whose cause is a wallet with a debt; null when the wallet has none. */
export async function frozenWalletError(verdict: Refused): Promise<AppError | null> {
  if (!["insufficient_credits", "credits_on_hold"].includes(verdict.reason) || verdict.payer === null) return null;
  const debt = await debtOf((await database()).sql, verdict.payer.walletId);
  if (debt === 0n) return null;
  return new AppError("insufficient_credits", {
    message: `This wallet is frozen: a refund or dispute left ${verdict.payer.mayReadBalance ? exactDollars(debt) : "an amount"} open. Adding credits repays that first.`,
    detail: { reason: verdict.reason, payer: verdict.payer },
  });
}

/** The error for a refused hold. */
export function refusal(verdict: Refused, { request, externalUserId }: Purchase): AppError {
  if (isAboutMoney(verdict) && couldNotCount(request)) return tooBusyToCount();
  const detail = { reason: verdict.reason, payer: verdict.payer };
  if (verdict.reason === "credits_on_hold") return onHold(verdict, detail);
  // Amounts only for apps that may read the balance.
  if (isAboutMoney(verdict) && verdict.available !== null && verdict.needed !== null && verdict.payer?.mayReadBalance === true) {
    const whose = verdict.reason === "spending_limit_reached" ? "The monthly limit this person set for your app has" : "This wallet has";
    return new AppError(verdict.reason, {
      message: `${whose} ${exactDollars(verdict.available)} left and the request may need ${exactDollars(verdict.needed)}.${verdict.reason === "insufficient_credits" ? " Add credits to continue." : ""}`,
      detail,
    });
  }
  if (verdict.reason === "model_not_allowed") {
    return new AppError("model_not_allowed", { message: `The model ${request.model.id} is not allowed here.`, param: "model", detail });
  }
  if (verdict.reason === "not_found" && externalUserId !== null) return noLinkedUser({ ...detail, external_user_id: externalUserId });
  return new AppError(verdict.reason, { detail });
}

/** The wallet has enough, but running requests hold it: a retry succeeds after they end. */
function onHold({ payer, available, needed, released }: Refused, detail: unknown): AppError {
  const headers = { "retry-after": String(secondsUntilCreditsReturn()) };
  // Amounts only for apps that may read the balance.
  if (payer?.mayReadBalance !== true || available === null || needed === null || released === null) {
    return new AppError("credits_on_hold", { headers, detail });
  }
  const held = released - available;
  return new AppError("credits_on_hold", {
    message: `Requests that are running hold ${exactDollars(held)}; ${exactDollars(available)} is free, and this request may need ${exactDollars(needed)}.`,
    members: { held: Number(held) },
    headers,
    detail,
  });
}

/** In how many seconds a running request should end: the average duration of this process's requests, from 1 to 60. */
function secondsUntilCreditsReturn(): number {
  return Math.min(60, Math.max(1, Math.ceil(average.durationMs / 1_000)));
}

/** An exponential moving average over the requests that ended. */
const average = { durationMs: 1_000 };

/** To be called when a request ends. */
export function noteDuration(durationMs: number): void {
  average.durationMs += (durationMs - average.durationMs) / 16;
}

/** The wallet may have enough: a prompt has fewer tokens than bytes, but the tokenizer was too busy to count them. */
export function tooBusyToCount(): AppError {
  return new AppError("overloaded", { headers: { "retry-after": "5" } });
}

/** The provider could not be reached, or closed the connection. `timedOut`: the gateway aborted at QUOTA_REQUEST_TIMEOUT_MS. */
export function unreachable(error: unknown, { timedOut, provider }: { timedOut: boolean; provider: string | undefined }): AppError {
  if (error instanceof AppError) return error;
  if (timedOut || error instanceof undiciErrors.HeadersTimeoutError || error instanceof undiciErrors.BodyTimeoutError) {
    return new AppError("gateway_timeout", { cause: error });
  }
  return new AppError("upstream_error", { cause: error, detail: { provider } });
}

/** The error for a failure that the provider reported inside a stream. */
export function failedInStream(failure: { message: string; status: number | null }): AppError {
  return new AppError(failure.status === 429 ? "rate_limit" : "upstream_error", {
    message: `The model's provider failed in the middle of its answer. Nothing was billed.`,
    detail: { status: failure.status },
  });
}

/** The error when a bill got no answer from the database. It names no price, because that statement may still be committed. */
export function unbilled(cause: unknown): AppError {
  return new AppError("internal_error", {
    message: "The books could not be written in time, so this request has no price. If it is billed after all, GET /v1/usage shows it.",
    cause,
  });
}
