import { v7 as uuidv7 } from "uuid";
import { env } from "#env";
import type { Payment, ReversalKind, ReversalState } from "../../generated/prisma/client.ts";
import { balanceOf, platformAccount } from "../ledger/accounts.ts";
import { giveBack, lockDebt, repay, takeBack } from "../ledger/debts.ts";
import { transfer } from "../ledger/transfer.ts";
import type { Tx } from "../platform/db.ts";
import { lockBilling, WENT_BACK } from "./billing.ts";

/**
 * What payments do to the books. News of one payment comes several times, late and in
 * any order, from webhooks, from people who return and from the job that asks; each of
 * these functions may be called with the same news again and changes nothing then.
 */

/**
 * Credits a payment, once; says whether this call did it, and what was told before of
 * its credits going back. `intentId`: Stripe's payment behind it.
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
  // A refund may have been told of before the payment was.
  const reversed: Reversed[] = [];
  if (intentId !== null) {
    for (const reversal of await tx.prisma.reversal.findMany({ where: { paymentIntentId: intentId }, orderBy: { id: "asc" } }))
      reversed.push(await carryOut(tx, paid, reversal));
  }
  const owes = await repayDebt(tx, payment.walletId);
  await rearm(tx, payment.walletId);
  return { credited: true, payment: paid, owes, reversed };
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

type Reversal = { id: string; kind: ReversalKind; state: ReversalState; amount: bigint; taken: bigint; owed: bigint };

/** What a refund or dispute did, for the mail about it. */
export type Reversed = {
  payment: Payment;
  kind: ReversalKind;
  /** Credits that were taken back, or came back; null when none moved. */
  change: { what: "taken" | "returned"; amount: bigint; owed: bigint } | null;
  /** It ended automatic top-ups. */
  stopped: boolean;
  /** The saved card was forgotten. */
  forgot: boolean;
};

/**
 * A refund or dispute, as far as Stripe tells of it: takes the credits back, or gives
 * them back when it failed or was won, in whole or in part. What is older than what is
 * known changes nothing: a state only rises, and what stands only becomes less.
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
  // What is booked says what it was booked for until it is booked otherwise.
  const keeps = known !== null && (state === "undone" || known.taken + known.owed > 0n);
  const reversal =
    known === null
      ? await tx.prisma.reversal.create({ data: { id, kind, state, amount, paymentIntentId: news.intentId } })
      : await tx.prisma.reversal.update({ where: { id }, data: { state, ...(keeps ? {} : { amount }) } });
  // Whose it is will be known when the payment is told of.
  if (payment === null) return null;
  return carryOut(tx, payment, state === "standing" ? { ...reversal, amount } : reversal, known?.state);
}

function isNews(known: Reversal, news: { state: ReversalState; amount: bigint }): boolean {
  const risen = ORDER.indexOf(news.state) - ORDER.indexOf(known.state);
  return risen > 0 || (risen === 0 && known.state === "standing" && news.amount < known.amount);
}

/** `before`: the state that was carried out already. */
async function carryOut(tx: Tx, payment: Payment, reversal: Reversal, before?: ReversalState): Promise<Reversed> {
  const change = await book(tx, payment, reversal);
  const isOld = reversal.state === before;
  return { payment, kind: reversal.kind, change, ...(isOld ? NOTHING_STOPPED : await stopAutomaticTopUps(tx, payment, reversal)) };
}

/** Brings the books to what the reversal's state asks for. */
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
 * Nobody is charged by themselves for what they asked back, or what their bank took or
 * asks about: automatic top-ups wait until their person turns them on again. A dispute
 * may say that the card is not that person's, so once it takes money the saved card is
 * forgotten too; the next one is left at a checkout, where its bank can ask for its owner.
 */
async function stopAutomaticTopUps(tx: Tx, { walletId }: Payment, { kind, state }: Reversal): Promise<typeof NOTHING_STOPPED> {
  if (state === "undone") return NOTHING_STOPPED;
  // Whoever decides about a charge holds this lock, and sees both the lower balance and the stop, or neither.
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
 * Pays what the wallet owes, as far as it can; what it still owes. A debt may have
 * swallowed an automatic top-up, which then did not lift the balance; once it is gone
 * the next one does.
 */
export async function repayDebt(tx: Tx, walletId: string): Promise<bigint> {
  const debt = await lockDebt(tx, walletId);
  const owes = await repay(tx, walletId);
  if (debt > 0n && owes === 0n) await tx.prisma.billing.updateMany({ where: { walletId }, data: { autoArmed: true } });
  return owes;
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

/** Whoever hears of a payment at Stripe takes this first, so that news of it is taken one after the other. */
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
