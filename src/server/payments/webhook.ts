import type Stripe from "stripe";
import type { ReversalKind, ReversalState } from "../../generated/prisma/client.ts";
import { prisma, transaction } from "../platform/db.ts";
import { takeAutomaticIntent } from "./auto-top-up.ts";
import { applyReversal, markOver } from "./fulfil.ts";
import { mailReversal } from "./mails.ts";
import { creditsOfCents } from "./packages.ts";
import { idOf, PAYMENT_ID, stripe } from "./stripe.ts";
import { DID_NOT_GO_THROUGH, paymentOf, takeSession } from "./sync.ts";

/**
 * Carries out one event of Stripe. Events come repeatedly, late and in any order: their effect depends
 * on the rows of the database, and the list of handled events only saves work. Throws when the event
 * could not be carried out, so that Stripe sends it again.
 */
export async function handleEvent(event: Stripe.Event): Promise<void> {
  const db = await prisma();
  if ((await db.stripeEvent.count({ where: { id: event.id } })) > 0) return;
  await carryOut(event);
  await db.stripeEvent.createMany({ data: { id: event.id, type: event.type }, skipDuplicates: true });
}

async function carryOut(event: Stripe.Event): Promise<void> {
  switch (event.type) {
    case "checkout.session.completed":
    case "checkout.session.async_payment_succeeded":
    case "checkout.session.expired":
      await takeSession(event.data.object);
      return;
    case "checkout.session.async_payment_failed":
      await failed(event.data.object);
      return;
    case "payment_intent.succeeded":
    case "payment_intent.processing":
    case "payment_intent.requires_action":
    case "payment_intent.payment_failed":
    case "payment_intent.canceled":
      await takeAutomaticIntent(event.data.object);
      return;
    case "refund.created":
    case "refund.updated":
    case "refund.failed":
    case "charge.refund.updated":
      await refund(event.data.object);
      return;
    case "charge.dispute.created":
    case "charge.dispute.updated":
    case "charge.dispute.closed":
    case "charge.dispute.funds_withdrawn":
    case "charge.dispute.funds_reinstated":
      await dispute(event.data.object, event.type === "charge.dispute.funds_withdrawn");
      return;
    default:
      // An endpoint at Stripe may be set up to send further types; they need nothing.
      return;
  }
}

async function failed(session: Stripe.Checkout.Session): Promise<void> {
  const payment = await paymentOf(session.metadata?.[PAYMENT_ID]);
  if (payment !== null) await transaction((tx) => markOver(tx, payment.id, "failed", DID_NOT_GO_THROUGH));
}

async function refund(refund: Stripe.Refund): Promise<void> {
  const undone = refund.status === "failed" || refund.status === "canceled";
  await reverse("refund", refund, undone ? "undone" : "standing", refund.currency === "usd" ? refund.amount : null);
}

/** `withdrawn`: the event says that Stripe took the money from our balance. */
async function dispute(dispute: Stripe.Dispute, withdrawn: boolean): Promise<void> {
  const moved = moneyOf(dispute);
  const cents = standingCents(dispute, moved);
  const state = stateOf(dispute.status, withdrawn || moved.withdrawn > 0);
  await reverse("dispute", dispute, state === "standing" && cents === 0 ? "undone" : state, cents);
}

/** The state of a dispute. `withdrawn`: at least a part of the money was taken. */
function stateOf(status: Stripe.Dispute["status"], withdrawn: boolean): ReversalState {
  if (status === "won") return "undone";
  // `warning_…` is an inquiry, which may become a dispute. A `prevented` dispute was blocked before money moved, or the cardholder was paid.
  if (status.startsWith("warning_") || status === "prevented") return withdrawn ? "standing" : "announced";
  return "standing";
}

/** What a dispute took from our balance at Stripe and returned to it, as far as Stripe has reported. Without the fee. */
function moneyOf({ balance_transactions: all }: Stripe.Dispute) {
  const moved = all.filter(({ reporting_category: category }) => category !== "fee");
  const sum = (sign: 1 | -1) => moved.reduce((total, { amount }) => total + Math.max(0, sign * amount), 0);
  return { withdrawn: sum(-1), reinstated: sum(1), currency: moved[0]?.currency };
}

/**
 * How many US cents of a dispute stand: all of it, less what was returned. A lost dispute may return
 * a part too, which the cardholder had been refunded before. Null when the amount in dollars is not
 * known.
 */
function standingCents(dispute: Stripe.Dispute, moved: ReturnType<typeof moneyOf>): number | null {
  const left = Math.max(0, moved.withdrawn - moved.reinstated);
  if (dispute.currency !== "usd") return moved.currency === "usd" && moved.withdrawn > 0 ? left : null;
  // Our balance at Stripe may be in another currency: the share that is left counts.
  if (moved.currency !== "usd" && moved.withdrawn > 0) return Math.round((dispute.amount * left) / moved.withdrawn);
  return Math.max(0, dispute.amount - moved.reinstated);
}

/** `cents`: how much of it stands, in US cents; null when that is not known. */
async function reverse(
  kind: ReversalKind,
  news: { id: string; amount: number; currency: string; payment_intent: string | { id: string } | null },
  state: ReversalState,
  cents: number | null,
): Promise<void> {
  const { id } = news;
  const intentId = idOf(news.payment_intent);
  // Without a PaymentIntent it is not about a payment of ours.
  if (intentId === null || news.amount <= 0) return;
  const unknown = state === "standing" && cents === null;
  const amount = creditsOfCents(cents ?? news.amount);
  const done = await transaction((tx) => applyReversal(tx, { id, intentId, kind, state: unknown ? "announced" : state, amount }));
  if (done !== null) mailReversal(done);
  // A person has to decide how many credits that is; the error makes Stripe send the event again until then.
  if (unknown && (await isOpen(id)) && (await isOwnPayment(intentId)))
    throw new Error(`${kind} ${id} of payment ${intentId} is ${news.amount} ${news.currency} and not in usd`);
}

/** Whether no event has told how it ended. */
async function isOpen(id: string): Promise<boolean> {
  return (await (await prisma()).reversal.count({ where: { id, state: "announced" } })) > 0;
}

/** Whether a PaymentIntent is one of ours, also before its own event has come. */
async function isOwnPayment(intentId: string): Promise<boolean> {
  if ((await (await prisma()).paymentIntent.count({ where: { id: intentId, paymentId: { not: null } } })) > 0) return true;
  const intent = await stripe()?.paymentIntents.retrieve(intentId);
  return intent?.metadata[PAYMENT_ID] !== undefined;
}

const FORGET_AFTER_MS = 40 * 24 * 60 * 60 * 1000;

/** Deletes events that Stripe will not send again, and reversals and intents whose payment never was one of ours. */
export async function purgeStripeNews(now = new Date()): Promise<void> {
  const db = await prisma();
  const before = new Date(now.getTime() - FORGET_AFTER_MS);
  await db.stripeEvent.deleteMany({ where: { handledAt: { lt: before } } });
  const notOurs = { paymentId: null, createdAt: { lt: before } };
  await db.reversal.deleteMany({ where: { paymentIntent: notOurs, taken: 0n, owed: 0n } });
  await db.paymentIntent.deleteMany({ where: { ...notOurs, reversals: { none: {} } } });
}
