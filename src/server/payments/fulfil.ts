import { v7 as uuidv7 } from "uuid";
import { env } from "#env";
import type { Payment, ReversalKind, ReversalState } from "../../generated/prisma/client.ts";
import { balanceOf, platformAccount } from "../ledger/accounts.ts";
import { giveBack, lockDebt, repay, takeBack } from "../ledger/debts.ts";
import { transfer } from "../ledger/transfer.ts";
import type { Tx } from "../platform/db.ts";

/**
 * What payments do to the books. News of one payment comes several times, late and in
 * any order, from webhooks, from people who return and from the job that asks; each of
 * these functions may be called with the same news again and changes nothing then.
 */

/** Credits a payment, once; says whether this call did it. `intentId`: Stripe's payment behind it. */
export async function markPaid(
  tx: Tx,
  paymentId: string,
  intentId: string | null,
): Promise<{ credited: boolean; payment: Payment; owes: bigint }> {
  const payment = await lockPayment(tx, paymentId);
  if (payment.status === "paid") return { credited: false, payment, owes: 0n };
  if (intentId !== null) {
    await lockIntent(tx, intentId);
    await tx.prisma.paymentIntent.update({ where: { id: intentId }, data: { paymentId } });
  }
  await lockDebt(tx, payment.walletId);
  const transferId = uuidv7();
  const outcome = await transfer(tx, {
    id: transferId,
    debitId: accountOf(payment),
    creditId: payment.walletId,
    amount: payment.amount,
    reason: "top_up",
    description: describe(payment),
  });
  if (outcome !== "applied") throw new Error(`crediting payment ${paymentId}: ${outcome}`);
  const paid = await tx.prisma.payment.update({
    where: { id: paymentId },
    data: { status: "paid", transferId, paidAt: new Date(), automaticFor: null, problem: null },
  });
  // A refund may have been told of before the payment was.
  if (intentId !== null) {
    for (const reversal of await tx.prisma.reversal.findMany({ where: { paymentIntentId: intentId }, orderBy: { id: "asc" } }))
      await book(tx, paid, reversal);
  }
  const owes = await repay(tx, payment.walletId);
  await rearm(tx, payment.walletId);
  return { credited: true, payment: paid, owes };
}

/** The person has paid and their bank takes its time. */
export async function markProcessing(tx: Tx, paymentId: string): Promise<void> {
  const payment = await lockPayment(tx, paymentId);
  if (payment.status === "open") await tx.prisma.payment.update({ where: { id: paymentId }, data: { status: "processing" } });
}

/** Nothing was charged, and nothing will be. Money that comes in all the same is credited. Says whether this call did it. */
export async function markOver(
  tx: Tx,
  paymentId: string,
  status: "failed" | "expired",
  problem: string | null = null,
): Promise<{ ended: boolean; payment: Payment }> {
  const payment = await lockPayment(tx, paymentId);
  if (payment.status !== "open" && payment.status !== "processing") return { ended: false, payment };
  return {
    ended: true,
    payment: await tx.prisma.payment.update({ where: { id: paymentId }, data: { status, problem, automaticFor: null } }),
  };
}

const ORDER: readonly ReversalState[] = ["announced", "standing", "undone"];

/**
 * A refund or dispute, as far as Stripe tells of it: takes the credits back, or gives
 * them back when it failed or was won. What is older than what is known changes nothing.
 * Says what it took, for the mail about it.
 */
export async function applyReversal(
  tx: Tx,
  news: { id: string; intentId: string; kind: ReversalKind; state: ReversalState; amount: bigint },
): Promise<{ payment: Payment; change: "taken" | "returned"; owed: bigint } | null> {
  await lockIntent(tx, news.intentId);
  const known = await tx.prisma.reversal.findUnique({ where: { id: news.id } });
  if (known !== null && ORDER.indexOf(known.state) >= ORDER.indexOf(news.state)) return null;
  const { id, kind, state, amount } = news;
  const reversal =
    known === null
      ? await tx.prisma.reversal.create({ data: { id, kind, state, amount, paymentIntentId: news.intentId } })
      : await tx.prisma.reversal.update({ where: { id }, data: { state } });
  const payment = await tx.prisma.payment.findFirst({ where: { intent: { id: news.intentId }, status: "paid" } });
  // Whose it is will be known when the payment is told of.
  if (payment === null) return null;
  return book(tx, payment, reversal);
}

type Reversal = { id: string; kind: ReversalKind; state: ReversalState; amount: bigint; taken: bigint; owed: bigint };

/** Brings the books to what the reversal's state asks for. */
async function book(tx: Tx, payment: Payment, reversal: Reversal) {
  const booked = reversal.taken + reversal.owed;
  const wanted = reversal.state === "standing" ? reversal.amount : 0n;
  if (booked === wanted) return null;
  const order = { walletId: payment.walletId, otherId: accountOf(payment), amount: reversal.amount };
  if (wanted > booked) {
    const back = await takeBack(tx, {
      ...order,
      reason: reversal.kind === "refund" ? "refund" : "correction",
      description: reversal.kind === "refund" ? "Refunded through Stripe" : "Payment disputed at the bank",
    });
    await tx.prisma.reversal.update({ where: { id: reversal.id }, data: back });
    return { payment, change: "taken" as const, owed: back.owed };
  }
  const { given, forgiven } = await giveBack(tx, {
    ...order,
    reason: "correction",
    description: reversal.kind === "refund" ? "The refund did not go through" : "The dispute was decided for this wallet",
  });
  await tx.prisma.reversal.update({
    where: { id: reversal.id },
    data: { taken: reversal.taken - given, owed: reversal.owed - forgiven },
  });
  await rearm(tx, payment.walletId);
  return { payment, change: "returned" as const, owed: 0n };
}

/** A balance that is high enough again may fall again: then there is a new mail, and a new automatic top-up. */
export async function rearm(tx: Tx, walletId: string): Promise<void> {
  const { balance } = await balanceOf(tx, walletId);
  await tx.prisma.billing.updateMany({ where: { walletId, autoThreshold: { lte: balance } }, data: { autoArmed: true } });
  if (balance >= BigInt(env.QUOTA_LOW_BALANCE_CREDITS))
    await tx.prisma.billing.updateMany({ where: { walletId, lowSince: { not: null } }, data: { lowSince: null } });
}

async function lockPayment(tx: Tx, id: string): Promise<Payment> {
  await tx.query(lockPaymentStatement, [id]);
  // A statement of its own, so that it sees what whoever held the lock committed.
  return tx.prisma.payment.findUniqueOrThrow({ where: { id } });
}

const lockPaymentStatement = { name: "payments_lock", text: `SELECT id FROM payment WHERE id = $1::uuid FOR NO KEY UPDATE` };

async function lockIntent(tx: Tx, id: string): Promise<void> {
  await tx.query(lockIntentStatement, [id]);
}

const lockIntentStatement = {
  name: "payments_lock_intent",
  text: `INSERT INTO payment_intent (id) VALUES ($1::text) ON CONFLICT (id) DO UPDATE SET id = excluded.id`,
};

function accountOf(payment: Payment): string {
  return payment.provider === "stripe" ? platformAccount.stripe : platformAccount.sandboxCheckout;
}

function describe(payment: Payment): string {
  if (payment.provider === "sandbox") return "Sandbox checkout, no money moved";
  return payment.automatic ? "Automatic top-up, paid through Stripe" : "Paid through Stripe";
}
