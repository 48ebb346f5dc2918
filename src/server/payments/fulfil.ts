import { v7 as uuidv7 } from "uuid";
import { env } from "#env";
import type { Payment, ReversalKind, ReversalState } from "../../generated/prisma/client.ts";
import { balanceOf, platformAccount } from "../ledger/accounts.ts";
import { giveBack, lockDebt, repay, takeBack } from "../ledger/debts.ts";
import { transfer } from "../ledger/transfer.ts";
import type { Tx } from "../platform/db.ts";
import { lockBilling, WENT_BACK } from "./billing.ts";

/**
 * What payments do to the ledger. Events about one payment come repeatedly, late and in any
 * order, from webhooks, from the return page and from the job that asks Stripe; each of these
 * functions is idempotent.
 */

/**
 * Credits a payment once; `credited` is true for the call that did. `owes`: the wallet's debt after
 * it, in credits. `reversed`: refunds and disputes that were known before the payment and are
 * carried out now. `intentId`: the PaymentIntent.
 */
export async function markPaid(
  tx: Tx,
  paymentId: string,
  intentId: string | null,
): Promise<{ credited: boolean; payment: Payment; owes: bigint; reversed: Reversed[] }> {
  const payment = await lockPayment(tx, paymentId);
  if (payment.status === "paid") return { credited: false, payment, owes: 0n, reversed: [] };
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
  // Stripe may have sent a refund's event before the payment's.
  const reversed: Reversed[] = [];
  if (intentId !== null) {
    for (const reversal of await tx.prisma.reversal.findMany({ where: { paymentIntentId: intentId }, orderBy: { id: "asc" } }))
      reversed.push(await carryOut(tx, paid, reversal));
  }
  const owes = await repayDebt(tx, payment.walletId);
  await rearm(tx, payment.walletId);
  return { credited: true, payment: paid, owes, reversed };
}

/** The user has paid, and the bank is still processing the charge. */
export async function markProcessing(tx: Tx, paymentId: string): Promise<void> {
  const payment = await lockPayment(tx, paymentId);
  if (payment.status === "open") await tx.prisma.payment.update({ where: { id: paymentId }, data: { status: "processing" } });
}

/** Ends a payment without a charge. `ended`: whether this call did. If Stripe reports it paid later, `markPaid` still credits it. */
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

type Reversal = { id: string; kind: ReversalKind; state: ReversalState; amount: bigint; taken: bigint; owed: bigint };

/** What a refund or dispute changed, for the mail about it. */
export type Reversed = {
  payment: Payment;
  kind: ReversalKind;
  /** Credits that were taken back or returned; null when none were. */
  change: { what: "taken" | "returned"; amount: bigint; owed: bigint } | null;
  /** Whether it stopped auto top-up. */
  stopped: boolean;
  /** Whether the saved card was deleted. */
  forgot: boolean;
};

/**
 * Takes over the state of a refund or dispute: takes the credits back, or returns them, in whole or in
 * part, when the refund failed or the dispute was won. Does nothing (null) for an older state than the
 * stored one: a state only moves forward, and the amount that stands only falls.
 */
export async function applyReversal(
  tx: Tx,
  news: { id: string; intentId: string; kind: ReversalKind; state: ReversalState; amount: bigint },
): Promise<Reversed | null> {
  await lockIntent(tx, news.intentId);
  const { id, kind, state, amount } = news;
  const known = await tx.prisma.reversal.findUnique({ where: { id } });
  if (known !== null && !isNews(known, news)) return null;
  const payment = await tx.prisma.payment.findFirst({ where: { intent: { id: news.intentId }, status: "paid" } });
  // `amount` stays the booked amount until `book` books another one.
  const keeps = known !== null && (state === "undone" || known.taken + known.owed > 0n);
  const reversal =
    known === null
      ? await tx.prisma.reversal.create({ data: { id, kind, state, amount, paymentIntentId: news.intentId } })
      : await tx.prisma.reversal.update({ where: { id }, data: { state, ...(keeps ? {} : { amount }) } });
  // The payment is not credited yet; `markPaid` carries the reversal out.
  if (payment === null) return null;
  return carryOut(tx, payment, state === "standing" ? { ...reversal, amount } : reversal, known?.state);
}

function isNews(known: Reversal, news: { state: ReversalState; amount: bigint }): boolean {
  const risen = ORDER.indexOf(news.state) - ORDER.indexOf(known.state);
  return risen > 0 || (risen === 0 && known.state === "standing" && news.amount < known.amount);
}

/** Books a reversal and, when its state is new, stops auto top-up. `before`: the state that was carried out already. */
async function carryOut(tx: Tx, payment: Payment, reversal: Reversal, before?: ReversalState): Promise<Reversed> {
  const change = await book(tx, payment, reversal);
  const isOld = reversal.state === before;
  return { payment, kind: reversal.kind, change, ...(isOld ? NOTHING_STOPPED : await stopAutomaticTopUps(tx, payment, reversal)) };
}

/** Books the difference between what was booked for the reversal and what its state requires. */
async function book(tx: Tx, payment: Payment, reversal: Reversal): Promise<Reversed["change"]> {
  const booked = reversal.taken + reversal.owed;
  const wanted = reversal.state === "standing" ? reversal.amount : 0n;
  if (booked === wanted) return null;
  const order = { walletId: payment.walletId, otherId: accountOf(payment) };
  const { id, kind, amount } = reversal;
  if (wanted > booked) {
    const back = await takeBack(tx, {
      ...order,
      amount: wanted - booked,
      reason: kind === "refund" ? "refund" : "correction",
      description: kind === "refund" ? "Refunded through Stripe" : "Payment disputed at the bank",
    });
    const data = { amount, taken: reversal.taken + back.taken, owed: reversal.owed + back.owed };
    await tx.prisma.reversal.update({ where: { id }, data });
    return { what: "taken", amount: wanted - booked, owed: back.owed };
  }
  const { given, forgiven } = await giveBack(tx, {
    ...order,
    amount: booked - wanted,
    reason: "correction",
    description:
      kind === "refund"
        ? "The refund did not go through"
        : wanted === 0n
          ? "The dispute was decided for this wallet"
          : "The dispute was decided for this wallet in part",
  });
  await tx.prisma.reversal.update({ where: { id }, data: { amount, taken: reversal.taken - given, owed: reversal.owed - forgiven } });
  await rearm(tx, payment.walletId);
  return { what: "returned", amount: booked - wanted, owed: 0n };
}

/**
 * After a refund or dispute, and also during an inquiry, no card is charged until the user turns auto
 * top-up on again. A dispute may mean that the card is not the user's, so once a dispute takes money
 * the saved card is deleted too; the next card is saved at a checkout, where its bank can ask for its owner.
 */
async function stopAutomaticTopUps(tx: Tx, { walletId }: Payment, { kind, state }: Reversal): Promise<typeof NOTHING_STOPPED> {
  if (state === "undone") return NOTHING_STOPPED;
  // Deciding about an automatic charge takes this lock, so it sees both the lower balance and the stop, or neither.
  await lockBilling(tx, walletId);
  const { count: stopped } = await tx.prisma.billing.updateMany({
    where: { walletId, autoTopUp: { in: ["on", "waiting_for_card"] } },
    data: { autoTopUp: "stopped", autoProblem: WENT_BACK[kind] },
  });
  if (kind !== "dispute" || state !== "standing") return { stopped: stopped > 0, forgot: false };
  const { count: forgot } = await tx.prisma.billing.updateMany({
    where: { walletId, paymentMethodId: { not: null } },
    data: { paymentMethodId: null, paymentMethod: null },
  });
  return { stopped: stopped > 0, forgot: forgot > 0 };
}

const NOTHING_STOPPED = { stopped: false, forgot: false };

/**
 * Pays the wallet's debt as far as its balance covers it; returns the debt that is left, in credits.
 * While there is a debt a top-up may not lift the balance over the threshold, so auto top-up is armed
 * again when the debt is paid.
 */
export async function repayDebt(tx: Tx, walletId: string): Promise<bigint> {
  const debt = await lockDebt(tx, walletId);
  const owes = await repay(tx, walletId);
  if (debt > 0n && owes === 0n) await tx.prisma.billing.updateMany({ where: { walletId }, data: { autoArmed: true } });
  return owes;
}

/** Once the balance is at its thresholds again, the next fall triggers a new automatic top-up and a new mail. */
export async function rearm(tx: Tx, walletId: string): Promise<void> {
  const { balance } = await balanceOf(tx, walletId);
  await tx.prisma.billing.updateMany({ where: { walletId, autoThreshold: { lte: balance } }, data: { autoArmed: true } });
  if (balance >= BigInt(env.QUOTA_LOW_BALANCE_CREDITS))
    await tx.prisma.billing.updateMany({ where: { walletId, lowSince: { not: null } }, data: { lowSince: null } });
}

async function lockPayment(tx: Tx, id: string): Promise<Payment> {
  await tx.query(lockPaymentStatement, [id]);
  // A second statement, which reads the row as the lock's previous holder committed it (read committed).
  return tx.prisma.payment.findUniqueOrThrow({ where: { id } });
}

const lockPaymentStatement = { name: "payments_lock", text: `SELECT id FROM payment WHERE id = $1::uuid FOR NO KEY UPDATE` };

/** Inserts and locks the row of a PaymentIntent, so that events about one payment are handled one after the other. */
export async function lockIntent(tx: Tx, id: string): Promise<void> {
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
