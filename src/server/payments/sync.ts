import type Stripe from "stripe";
import type { Payment, Prisma } from "../../generated/prisma/client.ts";
import { prisma, transaction } from "../platform/db.ts";
import { isUuid } from "../platform/ids.ts";
import { log } from "../platform/log.ts";
import { lockIntent, markOver, markPaid, markProcessing } from "./fulfil.ts";
import { mailReceipt, mailReversal } from "./mails.ts";
import { idOf, PAYMENT_ID, stripe } from "./stripe.ts";

/** Takes the state of checkouts and payments at Stripe over into the database. */

/** Takes over a Checkout Session, from an event or a call. False when it is no payment of this database. Throws when another amount was paid than was ordered. */
export async function takeSession(session: Stripe.Checkout.Session): Promise<boolean> {
  const payment = await paymentOf(session.metadata?.[PAYMENT_ID]);
  if (payment === null || session.mode !== "payment") return false;
  if (session.payment_status === "paid") {
    // Another amount needs a person to look; the error makes Stripe send the event again until then.
    if (session.currency !== "usd" || session.amount_total !== payment.cents)
      throw new Error(`checkout ${session.id} was paid with ${session.amount_total} ${session.currency} and not ${payment.cents} usd`);
    await credit(payment, idOf(session.payment_intent));
  } else if (session.status === "complete") {
    if (isOver(session.payment_intent)) await transaction((tx) => markOver(tx, payment.id, "failed", DID_NOT_GO_THROUGH));
    else await transaction((tx) => markProcessing(tx, payment.id));
  } else if (session.status === "expired") {
    await transaction((tx) => markOver(tx, payment.id, "expired"));
  }
  return true;
}

export const DID_NOT_GO_THROUGH = "The payment did not go through.";

/** A Session is "complete" and "unpaid" both while a delayed payment is processed and after it failed; only the PaymentIntent tells which. */
function isOver(intent: Stripe.Checkout.Session["payment_intent"]): boolean {
  return intent !== null && typeof intent === "object" && (intent.status === "requires_payment_method" || intent.status === "canceled");
}

/** Takes over a succeeded PaymentIntent. False when it is no payment of this database. Throws for another amount than was ordered. */
export async function takeSucceededIntent(intent: Stripe.PaymentIntent): Promise<boolean> {
  const payment = await paymentOf(intent.metadata[PAYMENT_ID]);
  if (payment === null) return false;
  if (intent.currency !== "usd" || intent.amount_received !== payment.cents)
    throw new Error(`payment ${intent.id} brought ${intent.amount_received} ${intent.currency} and not ${payment.cents} usd`);
  await credit(payment, intent.id);
  return true;
}

/** The payment with an id from Stripe's metadata; null, and a line in the log, when there is none. */
export async function paymentOf(id: string | undefined): Promise<Payment | null> {
  if (id === undefined || !isUuid(id)) return null;
  const payment = await (await prisma()).payment.findFirst({ where: { id, provider: "stripe" } });
  if (payment === null) log.warn("Stripe tells of a payment that is not in this database", { payment: id });
  return payment;
}

async function credit(payment: Payment, intentId: string | null): Promise<void> {
  const { credited, payment: paid, owes, reversed } = await transaction((tx) => markPaid(tx, payment.id, intentId));
  // Only this call knows that the mails are due, so they are sent before anything else can fail.
  if (credited) mailReceipt(paid, owes);
  for (const each of reversed) mailReversal(each);
  // After the commit of the credits. When this fails, the next event about the payment does it.
  if (intentId !== null && (paid.method === null || paid.saveCard)) await keepDetails(paid, intentId);
}

/** Stores what the receipt shows, and the card when the user wanted to save it. */
async function keepDetails(payment: Payment, intentId: string): Promise<void> {
  const client = stripe();
  if (client === null) return;
  const intent = await client.paymentIntents.retrieve(intentId, { expand: ["latest_charge", "payment_method"] });
  const card = typeof intent.payment_method === "object" ? intent.payment_method : null;
  const charge = typeof intent.latest_charge === "object" ? intent.latest_charge : null;
  const method = card === null ? null : nameOf(card);
  const { id, walletId } = payment;
  await transaction(async (tx) => {
    // `saveCard` is cleared by the first call: the user may have deleted the card before a later one.
    const { count: first } = await tx.prisma.payment.updateMany({ where: { id, saveCard: true }, data: { saveCard: false } });
    await tx.prisma.payment.update({ where: { id }, data: { method: method ?? "Stripe", receiptUrl: charge?.receipt_url ?? null } });
    if (first === 0 || card === null || card.type !== "card") return;
    await lockIntent(tx, intentId);
    // A card that a dispute took money for is not saved.
    if ((await tx.prisma.reversal.count({ where: { paymentIntentId: intentId, kind: "dispute", state: "standing" } })) > 0) return;
    await tx.prisma.billing.updateMany({ where: { walletId }, data: { paymentMethodId: card.id, paymentMethod: method } });
    await tx.prisma.billing.updateMany({
      where: { walletId, autoTopUp: "waiting_for_card" },
      data: { autoTopUp: "on", autoArmed: true, autoProblem: null },
    });
  });
}

function nameOf(method: Stripe.PaymentMethod): string {
  if (method.card === undefined) return method.type;
  const brand = method.card.display_brand ?? method.card.brand;
  return `${brand.charAt(0).toUpperCase()}${brand.slice(1).replaceAll("_", " ")} •••• ${method.card.last4}`;
}

/** Takes over the state that a checkout has at Stripe. */
export async function syncCheckout(payment: Payment): Promise<void> {
  const client = stripe();
  if (client === null || payment.sessionId === null) return;
  await takeSession(await client.checkout.sessions.retrieve(payment.sessionId, { expand: ["payment_intent"] }));
}

const ASK_AGAIN_MS = 15 * 60 * 1000;
// A call to Stripe that times out takes half a minute, and automatic top-ups wait for this round.
const ROUND_MS = 10_000;

/**
 * Looks up checkouts that are open or processing and were not looked up for 15 minutes, in case
 * their events did not come. Safe in any number of processes: each claims a checkout by setting
 * `askedAt`.
 */
export async function syncOpenCheckouts(now = new Date()): Promise<void> {
  const db = await prisma();
  // These were not paid and have expired. A checkout without a session was never shown to a browser.
  const over = { status: "open", expiresAt: { lt: new Date(now.getTime() - 60_000) }, automatic: false } as const;
  await db.payment.updateMany({ where: { ...over, provider: "sandbox" }, data: { status: "expired" } });
  await db.payment.updateMany({ where: { ...over, provider: "stripe", sessionId: null }, data: { status: "expired" } });
  if (stripe() === null) return;
  const until = performance.now() + ROUND_MS;
  const before = new Date(now.getTime() - ASK_AGAIN_MS);
  const due = {
    provider: "stripe",
    automatic: false,
    sessionId: { not: null },
    status: { in: ["open", "processing"] },
    createdAt: { lt: before },
    OR: [{ askedAt: null }, { askedAt: { lt: before } }],
  } satisfies Prisma.PaymentWhereInput;
  for (const payment of await db.payment.findMany({ where: due, take: 20, orderBy: { askedAt: { sort: "asc", nulls: "first" } } })) {
    const { count } = await db.payment.updateMany({ where: { id: payment.id, ...due }, data: { askedAt: now } });
    if (count === 0) continue;
    await syncCheckout(payment).catch((error) => log.error("a checkout could not be looked up at Stripe", { payment: payment.id, error }));
    if (performance.now() >= until) return;
  }
}
