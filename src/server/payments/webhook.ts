import type Stripe from "stripe";
import type { ReversalState } from "../../generated/prisma/client.ts";
import { prisma, transaction } from "../platform/db.ts";
import { takeAutomaticIntent } from "./auto-top-up.ts";
import { applyReversal, markOver } from "./fulfil.ts";
import { mailReversal } from "./mails.ts";
import { creditsOfCents } from "./packages.ts";
import { idOf, PAYMENT_ID } from "./stripe.ts";
import { paymentOf, takeSession } from "./sync.ts";

/**
 * Carries out one event of Stripe. It may come twice, late, and in any order: what each
 * does is decided by what is in the database, and the list of events that were carried
 * out only spares the work. Throws when it could not be done, so that Stripe sends it again.
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
      await dispute(event.data.object, stateOf(event.data.object.status));
      return;
    case "charge.dispute.funds_reinstated":
      await dispute(event.data.object, "undone");
      return;
    default:
      // An endpoint may be sent more than it asked for; there is nothing to do about the rest.
      return;
  }
}

async function failed(session: Stripe.Checkout.Session): Promise<void> {
  const payment = await paymentOf(session.metadata?.[PAYMENT_ID]);
  if (payment !== null) await transaction((tx) => markOver(tx, payment.id, "failed", "The payment did not go through."));
}

async function refund(refund: Stripe.Refund): Promise<void> {
  const undone = refund.status === "failed" || refund.status === "canceled";
  await reverse("refund", refund, undone ? "undone" : "standing");
}

async function dispute(dispute: Stripe.Dispute, state: ReversalState): Promise<void> {
  await reverse("dispute", dispute, state);
}

/** What a dispute's status says about the money. */
function stateOf(status: Stripe.Dispute.Status): ReversalState {
  // An inquiry; it may become a dispute.
  if (status.startsWith("warning_")) return "announced";
  return status === "won" || status === "prevented" ? "undone" : "standing";
}

async function reverse(
  kind: "refund" | "dispute",
  news: { id: string; amount: number; currency: string; payment_intent: string | { id: string } | null },
  state: ReversalState,
): Promise<void> {
  const intentId = idOf(news.payment_intent);
  // Without one it is about something that was never a payment of ours.
  if (intentId === null || news.currency !== "usd" || news.amount <= 0) return;
  const done = await transaction((tx) => applyReversal(tx, { id: news.id, intentId, kind, state, amount: creditsOfCents(news.amount) }));
  if (done !== null) mailReversal(done.payment, kind, done.change, done.owed);
}

const FORGET_AFTER_MS = 40 * 24 * 60 * 60 * 1000;

/** Forgets events that Stripe will not send again, and news of payments that never became ours. */
export async function purgeStripeNews(now = new Date()): Promise<void> {
  const db = await prisma();
  const before = new Date(now.getTime() - FORGET_AFTER_MS);
  await db.stripeEvent.deleteMany({ where: { handledAt: { lt: before } } });
  const strangers = { paymentId: null, createdAt: { lt: before } };
  await db.reversal.deleteMany({ where: { paymentIntent: strangers, taken: 0n, owed: 0n } });
  await db.paymentIntent.deleteMany({ where: { ...strangers, reversals: { none: {} } } });
}
