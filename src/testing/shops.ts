import { type HoldRequest, type HoldVerdict, hold } from "../server/ledger/hold.ts";
import type { Database } from "../server/platform/db.ts";
import { makeApp, makeKey, makeLink, makeUser } from "./makers.ts";

/** Apps with funded owners, and what tests of holds ask of them. */

/** An app with a developer key and a funded owner, and a linked user. */
export async function shop(
  db: Database,
  options: { ownerCredits?: bigint; credits?: bigint; markupBps?: number; monthlyLimit?: bigint } = {},
) {
  const owner = await makeUser(db, { credits: options.ownerCredits ?? 1_000n });
  const person = await makeUser(db, { credits: options.credits ?? 1_000n });
  const app = await makeApp(db, { ownerId: owner.id, markupBps: options.markupBps ?? 0 });
  const key = await makeKey(db, app.id);
  const link = await makeLink(db, app.id, person, options.monthlyLimit === undefined ? {} : { monthlyLimit: options.monthlyLimit });
  return { owner, person, app, key, link };
}

/** A funded owner with an app and its developer key. */
export async function payer(db: Database, credits = 100_000n) {
  const owner = await makeUser(db, { credits });
  const app = await makeApp(db, { ownerId: owner.id });
  return { walletId: owner.walletId, app, key: await makeKey(db, app.id) };
}

/** The verdict about a request that is alone in its batch. */
export async function decide(db: Database, request: HoldRequest): Promise<HoldVerdict> {
  const [verdict] = await hold(db.sql, [request]);
  if (verdict === undefined) throw new Error("a request that is alone is always decided");
  return verdict;
}

/** A verdict as one word: the amount that is held, or the reason of the refusal. */
export const outcome = (verdict: HoldVerdict | undefined) =>
  verdict === undefined
    ? "no answer"
    : verdict.kind === "held"
      ? verdict.amount
      : verdict.kind === "refused"
        ? verdict.reason
        : verdict.kind;
