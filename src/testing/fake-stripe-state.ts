import { randomBytes } from "node:crypto";
import type Stripe from "stripe";

/** How a card behaves when it is charged. */
export type Card = "ok" | "declined" | "authentication_required" | "processing" | "unfinished";
export type Thing = Record<string, unknown> & { id: string };
export const API_VERSION = "2026-10-28.endive";
export type Params = Record<string, unknown>;

/** An error of Stripe's API. */
export class Refusal extends Error {
  readonly status: number;
  readonly error: object;
  constructor(status: number, error: { message: string; type?: string; [field: string]: unknown }) {
    super(error.message);
    this.status = status;
    this.error = { type: "invalid_request_error", ...error };
  }
}

/** The state of the fake: objects by id, the cards' behaviour, and the events that a test has not taken yet. */
export type StripeState = ReturnType<typeof stripeState>;

export function stripeState() {
  const things = new Map<string, Thing>();
  const cards = new Map<string, Card>();
  /** Parameters of a checkout for the payment that it will make. */
  const wanted = new Map<string, { metadata?: unknown; setup_future_usage?: string } | undefined>();
  const waiting: Stripe.Event[] = [];

  const newId = (prefix: string) => `${prefix}_${randomBytes(12).toString("hex")}`;
  const add = <T extends object>(prefix: string, thing: T) => {
    const made = { id: newId(prefix), ...thing } as T & Thing;
    things.set(made.id, made);
    return made;
  };
  const get = (id: string) => {
    const thing = things.get(id);
    if (thing === undefined) throw new Refusal(404, { code: "resource_missing", message: `No such object: '${id}'`, param: "id" });
    return thing;
  };
  const change = (id: string, fields: object) => Object.assign(get(id), fields);
  const event = (type: string, object: object) =>
    ({
      id: newId("evt"),
      object: "event",
      api_version: API_VERSION,
      created: Math.floor(Date.now() / 1000),
      // A copy, because later changes are told by later events.
      data: { object: structuredClone(object) },
      livemode: false,
      pending_webhooks: 1,
      request: null,
      type,
    }) as unknown as Stripe.Event;

  function makeIntent(fields: { amount: number; customer: string | null; metadata: unknown; payment_method: string }) {
    return add("pi", {
      object: "payment_intent",
      created: Math.floor(Date.now() / 1000),
      currency: "usd",
      amount_received: 0,
      status: "requires_payment_method",
      last_payment_error: null,
      latest_charge: null,
      livemode: false,
      ...fields,
    });
  }

  function succeed(intentId: string) {
    const intent = get(intentId);
    const charge = add("ch", {
      object: "charge",
      amount: intent.amount,
      currency: "usd",
      payment_intent: intentId,
      metadata: intent.metadata,
      receipt_url: `https://pay.stripe.com/receipts/${intentId}`,
    });
    return change(intentId, { status: "succeeded", amount_received: intent.amount, latest_charge: charge.id });
  }

  function makeCard(card: Card, customer: string | null) {
    const details = { brand: "visa", display_brand: "visa", last4: "4242" };
    const method = add("pm", { object: "payment_method", type: "card", card: details, customer });
    cards.set(method.id, card);
    return method.id;
  }

  function expanded(id: string, { expand }: Params) {
    const thing = { ...get(id) };
    for (const field of (expand ?? []) as string[]) thing[field] = things.get(thing[field] as string) ?? null;
    return thing;
  }

  return { things, cards, wanted, waiting, newId, add, get, change, event, makeIntent, succeed, makeCard, expanded };
}
