import Stripe from "stripe";
import type { Billing, Payment, Prisma } from "../../generated/prisma/client.ts";
import { balanceOf } from "../ledger/accounts.ts";
import { debtOf } from "../ledger/debts.ts";
import type { Database, Tx } from "../platform/db.ts";
import { prisma, transaction } from "../platform/db.ts";
import { newId } from "../platform/ids.ts";
import { log } from "../platform/log.ts";
import { ensureBilling, lockBilling, WENT_BACK } from "./billing.ts";
import { markOver, markProcessing } from "./fulfil.ts";
import { mailAutoTopUpStopped } from "./mails.ts";
import { creditsOfCents, findPackage, packages } from "./packages.ts";
import { CARD_IS_GONE, idOf, PAYMENT_ID, stripe } from "./stripe.ts";
import { takeSucceededIntent } from "./sync.ts";

/**
 * Auto top-up: when a balance falls below the threshold that its user chose, the user's saved card
 * is charged, once each time the balance falls, and up to a maximum in a calendar month (UTC).
 * Requests do no work for it: a job in every server looks at the few wallets that have it. Two rules in
 * the database keep it to one charge: a wallet has at most one unsettled automatic payment (unique
 * `automatic_for`), and it is armed again only after its balance was at the threshold. Refunds and
 * disputes stop it (fulfil.ts).
 */

export type AutoTopUpSettings = { threshold: bigint; packageId: string; monthlyMaximum: bigint };

/** Turns auto top-up on; `waiting_for_card` when the user has to save a card first. Amounts in credits. */
export async function startAutoTopUp(
  owner: { userId: string; walletId: string },
  { threshold, packageId, monthlyMaximum }: AutoTopUpSettings,
): Promise<"on" | "waiting_for_card" | "no such package" | "threshold too high" | "maximum too low"> {
  const bought = findPackage(packageId);
  if (bought === undefined) return "no such package";
  // One top-up must lift the balance over the threshold, or each top-up would be followed by another.
  if (threshold > bought.credits) return "threshold too high";
  if (monthlyMaximum < bought.credits) return "maximum too low";
  await ensureBilling(owner);
  return transaction(async (tx) => {
    const billing = await lockedBilling(tx, owner.walletId);
    const autoTopUp = billing.paymentMethodId === null ? "waiting_for_card" : "on";
    await tx.prisma.billing.update({
      where: { walletId: owner.walletId },
      data: {
        autoTopUp,
        autoThreshold: threshold,
        autoAmount: bought.credits,
        autoMonthlyMaximum: monthlyMaximum,
        autoProblem: null,
        // When the balance is low already, the next round charges.
        autoArmed: true,
      },
    });
    return autoTopUp;
  });
}

export async function stopAutoTopUp(walletId: string): Promise<void> {
  await (await prisma()).billing.updateMany({ where: { walletId }, data: { autoTopUp: "off", autoProblem: null } });
}

/** Deletes the card, here and at Stripe, and turns auto top-up off. */
export async function removeCard(walletId: string): Promise<void> {
  const db = await prisma();
  const billing = await db.billing.findUnique({ where: { walletId }, select: { paymentMethodId: true } });
  if (billing === null || billing.paymentMethodId === null) return;
  await db.billing.update({
    where: { walletId },
    data: { paymentMethodId: null, paymentMethod: null, autoTopUp: "off", autoProblem: null },
  });
  await stripe()
    ?.paymentMethods.detach(billing.paymentMethodId)
    .catch((error: unknown) => log.warn("a card could not be detached at Stripe", { error }));
}

function monthOf(now: Date): Date {
  return new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), 1));
}

/** Credits that automatic top-ups added this calendar month (UTC), payments under way included. */
export async function toppedUpThisMonth(db: Pick<Tx["prisma"], "payment">, walletId: string, now = new Date()): Promise<bigint> {
  const sum = await db.payment.aggregate({
    where: { walletId, automatic: true, status: { in: ["open", "processing", "paid"] }, createdAt: { gte: monthOf(now) } },
    _sum: { amount: true },
  });
  return sum._sum.amount ?? 0n;
}

// A call to Stripe that times out takes half a minute. The next round does what this one does not reach.
const ROUND_MS = 10_000;
const PAGE = 100;

/** One round of the job; safe in any number of processes. Neither half begins another call to Stripe after `roundMs`. */
export async function topUpAutomatically(db: Database, now = new Date(), roundMs = ROUND_MS): Promise<void> {
  if (stripe() === null) return;
  await chargeBelowThreshold(db, now, roundMs);
  await lookUpOpen(db, now, roundMs);
}

async function chargeBelowThreshold(db: Database, now: Date, roundMs: number): Promise<void> {
  const until = performance.now() + roundMs;
  let after = "00000000-0000-0000-0000-000000000000";
  for (;;) {
    const rows = await db.sql.query(belowThresholdStatement, [after, monthOf(now)]);
    for (const row of rows) {
      after = String(row.wallet_id);
      const payment = await transaction((tx) => claim(tx, after, now), db);
      if (payment === null) continue;
      await charge(payment);
      if (performance.now() >= until) return;
    }
    if (rows.length < PAGE) return;
  }
}

/** Wallets for which `claim` will probably return a payment, so that wallets that have to wait do not fill the page. */
const belowThresholdStatement = {
  name: "payments_below_threshold",
  text: `
    SELECT b.wallet_id FROM billing b JOIN account a ON a.id = b.wallet_id
    WHERE b.auto_top_up = 'on' AND b.auto_armed AND a.available + a.held < b.auto_threshold
      AND b.customer_id IS NOT NULL AND b.payment_method_id IS NOT NULL AND b.wallet_id > $1::uuid
      AND NOT EXISTS (SELECT 1 FROM debt d WHERE d.wallet_id = b.wallet_id AND d.amount > 0)
      AND NOT EXISTS (SELECT 1 FROM payment p WHERE p.automatic_for = b.wallet_id)
      AND b.auto_amount + coalesce((
        SELECT sum(p.amount) FROM payment p
        WHERE p.wallet_id = b.wallet_id AND p.automatic AND p.status IN ('open', 'processing', 'paid') AND p.created_at >= $2::timestamptz
      ), 0) <= b.auto_monthly_maximum
    ORDER BY b.wallet_id LIMIT ${PAGE}`,
};

/** Decides about one wallet under its lock, and inserts the payment before anything is charged. */
async function claim(tx: Tx, walletId: string, now: Date): Promise<Payment | null> {
  // The payment refers to the user's row, and deleting an account locks that row before `billing`: the same order here avoids a deadlock.
  await tx.query(keepUserStatement, [walletId]);
  const billing = await lockedBilling(tx, walletId);
  const { autoThreshold, autoAmount, autoMonthlyMaximum, customerId, paymentMethodId, userId } = billing;
  if (billing.autoTopUp !== "on" || !billing.autoArmed || customerId === null || paymentMethodId === null) return null;
  if (autoThreshold === null || autoAmount === null || autoMonthlyMaximum === null) return null;
  const { balance } = await balanceOf(tx, walletId);
  if (balance >= autoThreshold) return null;
  // The debt would take the top-up and leave the balance low, so each charge would be followed by another.
  if ((await debtOf(tx, walletId)) > 0n) return null;
  if ((await tx.prisma.payment.count({ where: { automaticFor: walletId } })) > 0) return null;
  if ((await toppedUpThisMonth(tx.prisma, walletId, now)) + autoAmount > autoMonthlyMaximum) return null;
  await tx.prisma.billing.update({ where: { walletId }, data: { autoArmed: false } });
  return tx.prisma.payment.create({
    data: {
      id: newId(),
      walletId,
      userId,
      provider: "stripe",
      automatic: true,
      automaticFor: walletId,
      amount: autoAmount,
      cents: Number(autoAmount / creditsOfCents(1)),
      customerId,
      paymentMethodId,
      askedAt: now,
      createdAt: now,
      expiresAt: new Date(now.getTime() + KNOWN_MS),
    },
  });
}

const keepUserStatement = {
  name: "payments_keep_user",
  text: `SELECT u.id FROM "user" u WHERE u.wallet_id = $1::uuid FOR KEY SHARE`,
};

async function lockedBilling(tx: Tx, walletId: string): Promise<Billing> {
  await lockBilling(tx, walletId);
  // A second statement, which reads the row as the lock's previous holder committed it (read committed).
  return tx.prisma.billing.findUniqueOrThrow({ where: { walletId } });
}

// Stripe keeps an idempotency key for at least a day; a repeated call within that time charges once.
const KNOWN_MS = 20 * 60 * 60 * 1000;
const ASK_AGAIN_MS = 60_000;

/**
 * Looks up payments whose outcome is unknown: Stripe's answer was lost, or a bank is still
 * processing the charge and no event about it has come.
 */
async function lookUpOpen(db: Database, now: Date, roundMs: number): Promise<void> {
  const until = performance.now() + roundMs;
  const before = new Date(now.getTime() - ASK_AGAIN_MS);
  const due = { automatic: true, status: { in: ["open", "processing"] }, askedAt: { lt: before } } satisfies Prisma.PaymentWhereInput;
  for (const payment of await db.prisma.payment.findMany({ where: due, take: 20, orderBy: { askedAt: "asc" } })) {
    const { count } = await db.prisma.payment.updateMany({ where: { id: payment.id, ...due }, data: { askedAt: now } });
    if (count === 0) continue;
    await settleOpen(db, payment, now).catch((error: unknown) => {
      log.warn("an automatic top-up could not be looked up at Stripe; it is asked again", { payment: payment.id, error });
    });
    if (performance.now() >= until) return;
  }
}

async function settleOpen(db: Database, payment: Payment, now: Date): Promise<void> {
  const { walletId, paymentMethodId } = payment;
  const wanted = (await db.prisma.billing.count({ where: { walletId, paymentMethodId, autoTopUp: "on" } })) > 0;
  // The same call with the same idempotency key charges once, whether or not the first call arrived.
  if (payment.status === "open" && wanted && payment.expiresAt > now) return charge(payment);
  const intent = await findIntent(payment);
  if (intent !== null) return void (await takeAutomaticIntent(await cancelUnconfirmed(intent)));
  if (payment.status === "processing") return;
  await stop(payment, wanted ? "Stripe did not answer for a day." : "Automatic top-ups were changed before Stripe could be reached.");
}

/** The PaymentIntent of a payment, or null when no call for it reached Stripe. */
async function findIntent({ id, customerId, createdAt }: Payment): Promise<Stripe.PaymentIntent | null> {
  const client = stripe();
  if (client === null || customerId === null) return null;
  const gte = Math.floor((createdAt.getTime() - CLOCKS_DIFFER_MS) / 1000);
  try {
    for await (const intent of client.paymentIntents.list({ customer: customerId, created: { gte }, limit: 100 }))
      if (intent.metadata[PAYMENT_ID] === id) return intent;
  } catch (error) {
    // A deleted customer has no card that could have been charged.
    if (!(error instanceof Stripe.errors.StripeError && error.code === "resource_missing")) throw error;
  }
  return null;
}

/** Cancels an intent that Stripe made and failed to confirm: Stripe repeats that failure for the same idempotency key, so the charge would never happen. */
async function cancelUnconfirmed(intent: Stripe.PaymentIntent): Promise<Stripe.PaymentIntent> {
  return intent.status === "requires_confirmation" ? ((await stripe()?.paymentIntents.cancel(intent.id)) ?? intent) : intent;
}

const CLOCKS_DIFFER_MS = 10 * 60 * 1000;

async function charge(payment: Payment): Promise<void> {
  const client = stripe();
  if (client === null || payment.customerId === null || payment.paymentMethodId === null) return;
  try {
    const intent = await client.paymentIntents.create(
      {
        amount: payment.cents,
        currency: "usd",
        customer: payment.customerId,
        payment_method: payment.paymentMethodId,
        allowed_payment_method_types: ["card"],
        confirm: true,
        // The user is not present: a bank that wants the user's confirmation declines.
        off_session: true,
        description: "Quota credits, automatic top-up",
        metadata: { [PAYMENT_ID]: payment.id, quota_user_id: payment.userId },
      },
      { idempotencyKey: `quota-auto-${payment.id}` },
    );
    await takeAutomaticIntent(intent);
  } catch (error) {
    const problem = await problemOf(payment, error);
    if (problem !== null) await stop(payment, problem);
    // The payment stays open, and the next round looks it up.
    else log.warn("an automatic top-up is open; Stripe is asked again", { payment: payment.id, error });
  }
}

/** Takes over the state of an automatic payment at Stripe, from our call or an event. False when no automatic payment of this database belongs to `intent`. */
export async function takeAutomaticIntent(intent: Stripe.PaymentIntent): Promise<boolean> {
  if (intent.status === "succeeded") return takeSucceededIntent(intent);
  const id = intent.metadata[PAYMENT_ID];
  const payment = id === undefined ? null : await (await prisma()).payment.findFirst({ where: { id, automatic: true } });
  // At a checkout the user may try another card after a failed one; its Session tells when the checkout ends.
  if (payment === null) return false;
  if (intent.status === "processing") await transaction((tx) => markProcessing(tx, payment.id));
  else if (intent.status === "requires_action") await stop(payment, NEEDS_ITS_OWNER);
  else if (intent.status === "requires_payment_method" || (intent.status === "canceled" && intent.last_payment_error !== null))
    await stop(payment, reasonOf(intent.last_payment_error?.code, intent.last_payment_error?.message));
  else if (intent.status === "canceled") await stop(payment, "Stripe did not carry it out.");
  return true;
}

const NEEDS_ITS_OWNER = "Your bank wants you to confirm the payment yourself.";

/** Why Stripe certainly charged nothing; null when that is uncertain. */
async function problemOf(payment: Payment, error: unknown): Promise<string | null> {
  if (error instanceof Stripe.errors.StripeCardError) return reasonOf(error.code, error.message);
  if (!(error instanceof Stripe.errors.StripeInvalidRequestError)) return null;
  return (await cardIsGone(payment, error)) ? CARD_IS_GONE : null;
}

/** Whether the card is no longer the customer's. Stripe's refusal for a detached card has no code, so the card is looked up. */
async function cardIsGone({ customerId, paymentMethodId }: Payment, refusal: Stripe.errors.StripeInvalidRequestError): Promise<boolean> {
  if (refusal.code === "resource_missing") return true;
  const client = stripe();
  if (client === null || paymentMethodId === null) return false;
  try {
    return idOf((await client.paymentMethods.retrieve(paymentMethodId)).customer) !== customerId;
  } catch (error) {
    return error instanceof Stripe.errors.StripeError && error.code === "resource_missing";
  }
}

function reasonOf(code: string | null | undefined, message: string | null | undefined): string {
  if (code === "authentication_required") return NEEDS_ITS_OWNER;
  return message ?? "Your card was declined.";
}

/**
 * Ends a payment that was not charged, turns auto top-up off and mails the user. When the user has
 * turned it off or saved another card since, the settings stay, no mail is sent, and the next round may
 * charge the other card.
 */
async function stop(payment: Payment, problem: string): Promise<void> {
  const on = { walletId: payment.walletId, autoTopUp: "on" } as const;
  const stopped = await transaction(async (tx) => {
    const { ended } = await markOver(tx, payment.id, "failed", problem);
    if (!ended) return false;
    const { count } = await tx.prisma.billing.updateMany({
      where: { ...on, paymentMethodId: payment.paymentMethodId },
      data: {
        autoTopUp: "stopped",
        autoProblem: problem,
        // Turning auto top-up on then asks for a new card.
        ...(problem === CARD_IS_GONE ? { paymentMethodId: null, paymentMethod: null } : {}),
      },
    });
    await tx.prisma.billing.updateMany({ where: on, data: { autoArmed: true } });
    return count > 0;
  });
  if (stopped) mailAutoTopUpStopped(payment, problem);
}

/** Auto top-up as the settings page shows it. Amounts in credits. */
export async function autoTopUpOf(walletId: string) {
  const db = await prisma();
  const billing = await db.billing.findUnique({ where: { walletId } });
  const bought = packages().find((each) => each.credits === billing?.autoAmount);
  return {
    state: billing?.autoTopUp ?? "off",
    threshold: billing?.autoThreshold ?? null,
    packageId: bought?.id ?? null,
    amount: billing?.autoAmount ?? null,
    monthlyMaximum: billing?.autoMonthlyMaximum ?? null,
    problem: billing?.autoProblem ?? null,
    /** Whether it stopped because of a refund or dispute, and not because a charge failed. */
    wentBack: Object.values<string | null>(WENT_BACK).includes(billing?.autoProblem ?? null),
    card: billing?.paymentMethodId === null ? null : (billing?.paymentMethod ?? null),
    addedThisMonth: await toppedUpThisMonth(db, walletId),
    lowBalanceMail: billing?.lowBalanceMail ?? true,
  };
}
