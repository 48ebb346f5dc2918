import type Stripe from "stripe";
import type { Card, StripeState } from "./fake-stripe-state.ts";

/** What a user, a bank or Stripe itself does to payments. Each returns the events that Stripe would send. */
export type StripeActions = {
  /** A user pays at a checkout; returns the events that Stripe would send. */
  pay(sessionId: string, options?: { card?: Card; late?: boolean }): Stripe.Event[];
  /** A delayed payment, such as a bank debit, succeeds or fails. */
  settleLate(sessionId: string, ok: boolean): Stripe.Event[];
  /** An automatic payment that a bank was processing succeeds. */
  arrive(intentId: string): void;
  expire(sessionId: string): Stripe.Event[];
  refund(intentId: string, cents: number): { id: string; events: Stripe.Event[] };
  failRefund(id: string): Stripe.Event[];
  /** `fields`: further fields of the dispute, such as another currency. */
  dispute(intentId: string, status?: string, fields?: object): { id: string; events: Stripe.Event[] };
  /** Stripe takes the money of a dispute from our balance, whatever the dispute's status. */
  withdraw(id: string): Stripe.Event[];
  /** Stripe returns some of the money of a dispute, in cents, whatever its status. */
  reinstate(id: string, cents: number): Stripe.Event[];
  changeDispute(id: string, status: string): Stripe.Event[];
};

export function stripeActions({ wanted, add, get, change, event, makeIntent, succeed, makeCard }: StripeState): StripeActions {
  /** Adds a balance transaction in our balance's currency; the fee is a separate one. */
  function moveMoney(id: string, amount: number) {
    const moved = get(id).balance_transactions as object[];
    const category = amount < 0 ? "dispute" : "dispute_reversal";
    const made = { object: "balance_transaction", amount, currency: "usd", fee: 1_500, reporting_category: category };
    return change(id, { balance_transactions: [...moved, made] });
  }

  return {
    pay(sessionId, { card = "ok", late = false } = {}) {
      const session = get(sessionId);
      if (session.status !== "open") throw new Error("this checkout is over");
      const intent = makeIntent({
        amount: session.amount_total as number,
        customer: session.customer as string,
        metadata: wanted.get(sessionId)?.metadata ?? {},
        // Stripe keeps a card with its customer only with `setup_future_usage`.
        payment_method: makeCard(card, wanted.get(sessionId)?.setup_future_usage === undefined ? null : (session.customer as string)),
      });
      change(sessionId, { status: "complete", payment_intent: intent.id });
      if (late) {
        change(intent.id, { status: "processing" });
        return [event("checkout.session.completed", session), event("payment_intent.processing", intent)];
      }
      succeed(intent.id);
      change(sessionId, { payment_status: "paid" });
      return [event("payment_intent.succeeded", intent), event("checkout.session.completed", session)];
    },
    settleLate(sessionId, ok) {
      const session = get(sessionId);
      const intentId = session.payment_intent as string;
      if (!ok) {
        change(intentId, { status: "requires_payment_method" });
        return [event("checkout.session.async_payment_failed", session), event("payment_intent.payment_failed", get(intentId))];
      }
      succeed(intentId);
      change(sessionId, { payment_status: "paid" });
      return [event("checkout.session.async_payment_succeeded", session), event("payment_intent.succeeded", get(intentId))];
    },
    arrive: (intentId) => void succeed(intentId),
    expire: (sessionId) => [event("checkout.session.expired", change(sessionId, { status: "expired" }))],
    refund(intentId, cents) {
      const refund = add("re", {
        object: "refund",
        amount: cents,
        currency: "usd",
        payment_intent: intentId,
        charge: get(intentId).latest_charge,
        status: "pending",
      });
      const created = event("refund.created", refund);
      return { id: refund.id, events: [created, event("refund.updated", change(refund.id, { status: "succeeded" }))] };
    },
    failRefund: (id) => [event("refund.failed", change(id, { status: "failed" }))],
    dispute(intentId, status = "needs_response", fields = {}) {
      const intent = get(intentId);
      const dispute = add("du", {
        object: "dispute",
        amount: intent.amount,
        currency: "usd",
        payment_intent: intentId,
        charge: intent.latest_charge,
        status,
        balance_transactions: [],
        ...fields,
      });
      return { id: dispute.id, events: [event("charge.dispute.created", dispute)] };
    },
    changeDispute(id, status) {
      const dispute = change(id, { status });
      const closed = ["won", "lost", "warning_closed", "prevented"].includes(status);
      return [
        event(closed ? "charge.dispute.closed" : "charge.dispute.updated", dispute),
        ...(status === "won" ? [event("charge.dispute.funds_reinstated", dispute)] : []),
        ...(status === "needs_response" ? [event("charge.dispute.funds_withdrawn", dispute)] : []),
      ];
    },
    withdraw(id) {
      const dispute = moveMoney(id, -(get(id).amount as number));
      return [event("charge.dispute.funds_withdrawn", dispute), event("charge.dispute.updated", dispute)];
    },
    reinstate: (id, cents) => [event("charge.dispute.funds_reinstated", moveMoney(id, cents))],
  };
}
