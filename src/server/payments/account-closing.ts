import Stripe from "stripe";
import type { Payment } from "../../generated/prisma/client.ts";
import { debtOf } from "../ledger/debts.ts";
import { prisma, type Tx, transaction } from "../platform/db.ts";
import { log } from "../platform/log.ts";
import { isMissing } from "./checkout.ts";
import { markOver } from "./fulfil.ts";
import { stripe } from "./stripe.ts";
import { takeSession } from "./sync.ts";

/** What payments contribute to deleting an account: a payment that arrives after the deletion would credit a wallet without an owner. */

type Owner = { userId: string; walletId: string };

export type Unsettled = { kind: "owes"; amount: bigint } | { kind: "payment under way" };

/** The wallet's debt, or a payment that cannot be cancelled; null when there is neither. Open checkouts are closed by `closeCheckouts` and do not count. */
export async function unsettled(tx: Tx, { userId, walletId }: Owner): Promise<Unsettled | null> {
  const amount = await debtOf(tx, walletId);
  if (amount > 0n) return { kind: "owes", amount };
  const underWay = await tx.prisma.payment.count({
    where: { userId, OR: [{ status: "processing" }, { status: "open", automatic: true }] },
  });
  return underWay > 0 ? { kind: "payment under way" } : null;
}

/** Whether the user has a checkout that can still be paid. */
export async function hasOpenCheckouts(tx: Tx, userId: string): Promise<boolean> {
  return (await tx.prisma.payment.count({ where: { userId, status: "open", expiresAt: { gt: new Date() } } })) > 0;
}

// Opening a checkout is two calls to Stripe, each tried at most three times.
const OPENED_WITHIN_MS = 10 * 60 * 1000;

/**
 * Closes a user's checkouts, here and at Stripe, so that none can be paid any more. `credited`:
 * one had been paid, and its credits are in the wallet. `no answer`: Stripe did not tell the
 * state of one.
 */
export async function closeCheckouts(userId: string): Promise<"closed" | "credited" | "no answer"> {
  const db = await prisma();
  const open = await db.payment.findMany({ where: { userId, status: "open", automatic: false }, orderBy: { id: "asc" } });
  for (const payment of open) {
    try {
      await close(payment);
    } catch (error) {
      log.warn("a checkout could not be closed at Stripe", { payment: payment.id, error });
      const { status } = await db.payment.findUniqueOrThrow({ where: { id: payment.id }, select: { status: true } });
      // When the status is `paid`, the credits are committed and only a later step failed.
      if (status !== "paid") return "no answer";
    }
  }
  const paid = await db.payment.count({ where: { id: { in: open.map(({ id }) => id) }, status: "paid" } });
  return paid > 0 ? "credited" : "closed";
}

async function close(payment: Payment): Promise<void> {
  const unseen = payment.sessionId === null && payment.createdAt.getTime() < Date.now() - OPENED_WITHIN_MS;
  if (payment.provider === "sandbox" || unseen) {
    await transaction((tx) => markOver(tx, payment.id, "expired"));
    return;
  }
  const client = stripe();
  // The checkout is still being opened, or Stripe is not configured any more: it counts as open until it expires.
  if (client === null || payment.sessionId === null) return;
  const whole = { expand: ["payment_intent"] };
  let session: Stripe.Checkout.Session;
  try {
    session = await client.checkout.sessions.expire(payment.sessionId, whole);
  } catch (error) {
    // The session was paid or has expired.
    if (!(error instanceof Stripe.errors.StripeInvalidRequestError)) throw error;
    const known = await client.checkout.sessions.retrieve(payment.sessionId, whole).catch((error: unknown) => {
      // The session may be of another Stripe account; after its expiry it cannot be paid there either.
      if (isMissing(error) && payment.expiresAt < new Date()) return null;
      throw error;
    });
    if (known === null) {
      await transaction((tx) => markOver(tx, payment.id, "expired"));
      return;
    }
    session = known;
  }
  await takeSession(session);
}
