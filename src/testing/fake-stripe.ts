import { randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import Stripe from "stripe";
import { checkParams, decodeForm } from "./stripe-params.ts";

/**
 * A fake of Stripe: the part of its HTTP API that payments use, its payment page for a browser, and its
 * webhooks, signed by the library's test helper. It refuses what Stripe refuses: undocumented fields,
 * another API version, a missing key, and an idempotency key used for another request. Tests call its
 * functions for what a user or a bank does.
 */
export type FakeStripe = {
  /** For STRIPE_API_URL. */
  url: string;
  secretKey: string;
  webhookSecret: string;
  /** The environment of a server that uses this fake. */
  env: Record<string, string>;
  /** Every call to the API, in order. */
  calls: readonly Call[];
  /** Cents that were charged, by payment id. */
  charged(): Map<string, number>;
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
  /** Sets how a saved card behaves from now on. */
  setCard(paymentMethodId: string, card: Card): void;
  /** Detaches a saved card from its customer, as in Stripe's dashboard. */
  detachCard(paymentMethodId: string): void;
  /** Makes the next call to this path fail. `lost`: it is carried out, and its answer is lost. */
  failNext(path: string, how: "lost" | "error", times?: number): void;
  /** Calls to this path get no answer until the function that is returned is called. */
  hang(path: string): () => void;
  /** Returns and removes the queued events of automatic payments. */
  takeEvents(): Stripe.Event[];
  /** A signed event, as the request that Stripe sends. */
  sign(
    event: Stripe.Event,
    options?: { secret?: string; timestamp?: number },
  ): { method: "POST"; headers: Record<string, string>; body: string };
  deliver(event: Stripe.Event, to: string): Promise<Response>;
  /** Where events caused on the payment page are sent. */
  webhookUrl: string | null;
  close(): Promise<void>;
};

export type Call = { method: string; path: string; params: Record<string, unknown>; idempotencyKey: string | null };
export type Card = "ok" | "declined" | "authentication_required" | "processing" | "unfinished";

/** The id of an event's object. */
export function idIn(event: { data: { object: unknown } } | undefined): string {
  return (event?.data.object as { id: string } | undefined)?.id ?? "";
}

type Thing = Record<string, unknown> & { id: string };
const API_VERSION = "2026-10-28.endive";

export async function startFakeStripe(): Promise<FakeStripe> {
  const secretKey = `sk_test_${randomBytes(16).toString("hex")}`;
  const webhookSecret = `whsec_${randomBytes(24).toString("hex")}`;
  const library = new Stripe(secretKey);
  const calls: Call[] = [];
  const things = new Map<string, Thing>();
  const cards = new Map<string, Card>();
  const answers = new Map<string, { request: string; status: number; body: unknown }>();
  const failures: { path: string; how: "lost" | "error" }[] = [];
  const hanging = new Map<string, Promise<void>>();
  let waiting: Stripe.Event[] = [];

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

  /** The calls, by method and path. `:id` stands for an id in the path. */
  const api: Record<string, { params: [string, string]; run(id: string, params: Params): unknown }> = {
    "POST /v1/customers": {
      params: ["Customers", "CustomerCreateParams"],
      run: (_id, { email, metadata }) => add("cus", { object: "customer", email, metadata, livemode: false }),
    },
    "DELETE /v1/customers/:id": {
      params: ["Customers", "CustomerDeleteParams"],
      run: (id) => {
        get(id);
        things.delete(id);
        return { id, object: "customer", deleted: true };
      },
    },
    "POST /v1/checkout/sessions": {
      params: ["Checkout/Sessions", "SessionCreateParams"],
      run: (_id, params) => {
        if (typeof params.customer === "string" && !things.has(params.customer))
          throw new Refusal(400, { code: "resource_missing", message: `No such customer: '${params.customer}'`, param: "customer" });
        const expiresIn = Number(params.expires_at) - Date.now() / 1000;
        if (expiresIn < 30 * 60 || expiresIn > 24 * 60 * 60)
          throw new Refusal(400, { message: "expires_at must be half an hour to a day from now", param: "expires_at" });
        const [item] = params.line_items as { quantity: string; price_data: { unit_amount: string } }[];
        const session = add("cs_test", {
          object: "checkout.session",
          mode: params.mode,
          status: "open",
          payment_status: "unpaid",
          amount_total: Number(item?.price_data.unit_amount) * Number(item?.quantity),
          currency: "usd",
          customer: params.customer,
          client_reference_id: params.client_reference_id,
          metadata: params.metadata,
          success_url: params.success_url,
          cancel_url: params.cancel_url,
          payment_intent: null,
          livemode: false,
        });
        wanted.set(session.id, params.payment_intent_data as { metadata?: unknown; setup_future_usage?: string } | undefined);
        return change(session.id, { url: `${url}/c/pay/${session.id}` });
      },
    },
    "GET /v1/checkout/sessions/:id": { params: ["Checkout/Sessions", "SessionRetrieveParams"], run: (id, params) => expanded(id, params) },
    "POST /v1/checkout/sessions/:id/expire": {
      params: ["Checkout/Sessions", "SessionExpireParams"],
      run: (id, params) => {
        if (get(id).status !== "open")
          throw new Refusal(400, { message: 'Only Checkout Sessions with a status in ["open"] can be expired.' });
        waiting.push(event("checkout.session.expired", change(id, { status: "expired" })));
        return expanded(id, params);
      },
    },
    "POST /v1/payment_intents": {
      params: ["PaymentIntents", "PaymentIntentCreateParams"],
      run: (_id, params) => {
        const { payment_method: card, customer } = params as { payment_method: string; customer: string };
        if (!things.has(card))
          throw new Refusal(400, { code: "resource_missing", message: `No such PaymentMethod: '${card}'`, param: "payment_method" });
        if (!things.has(customer))
          throw new Refusal(400, { code: "resource_missing", message: `No such customer: '${customer}'`, param: "customer" });
        // Stripe's refusal has no code either.
        if (get(card).customer !== customer)
          throw new Refusal(400, { message: "The provided PaymentMethod was detached from a Customer. It may not be used again." });
        if (params.off_session !== "true" || params.confirm !== "true") throw new Error("the stand-in only knows charges of saved cards");
        const intent = makeIntent({ amount: Number(params.amount), customer, metadata: params.metadata, payment_method: card });
        const behaviour = cards.get(card);
        if (behaviour === "ok") {
          succeed(intent.id);
          waiting.push(event("payment_intent.succeeded", intent));
          return intent;
        }
        if (behaviour === "processing") {
          waiting.push(event("payment_intent.processing", change(intent.id, { status: "processing" })));
          return intent;
        }
        // Stripe fails between making the intent and confirming it.
        if (behaviour === "unfinished") {
          change(intent.id, { status: "requires_confirmation" });
          throw new Refusal(500, { type: "api_error", message: "An unknown error occurred" });
        }
        const code = behaviour === "declined" ? "card_declined" : "authentication_required";
        const error = {
          type: "card_error",
          code,
          message: behaviour === "declined" ? "Your card was declined." : "Authentication needed.",
        };
        waiting.push(event("payment_intent.payment_failed", change(intent.id, { last_payment_error: error })));
        throw new Refusal(402, { ...error, payment_intent: intent });
      },
    },
    "GET /v1/payment_intents": {
      params: ["PaymentIntents", "PaymentIntentListParams"],
      run: (_id, { customer, created, limit = "10", starting_after: after }) => {
        get(customer as string);
        const since = Number((created as { gte?: string } | undefined)?.gte ?? 0);
        const all = [...things.values()].filter(
          (each) => each.object === "payment_intent" && each.customer === customer && Number(each.created) >= since,
        );
        const newest = all.toReversed();
        const from = newest.findIndex(({ id }) => id === after) + 1;
        const data = newest.slice(from, from + Number(limit));
        return { object: "list", url: "/v1/payment_intents", data, has_more: from + data.length < newest.length };
      },
    },
    "GET /v1/payment_intents/:id": {
      params: ["PaymentIntents", "PaymentIntentRetrieveParams"],
      run: (id, params) => expanded(id, params),
    },
    "GET /v1/payment_methods/:id": { params: ["PaymentMethods", "PaymentMethodRetrieveParams"], run: (id) => get(id) },
    "POST /v1/payment_intents/:id/cancel": {
      params: ["PaymentIntents", "PaymentIntentCancelParams"],
      run: (id) => {
        if (get(id).status === "succeeded") throw new Refusal(400, { code: "payment_intent_unexpected_state", message: "It succeeded." });
        return change(id, { status: "canceled" });
      },
    },
    "POST /v1/payment_methods/:id/detach": {
      params: ["PaymentMethods", "PaymentMethodDetachParams"],
      run: (id) => change(id, { customer: null }),
    },
  };
  const wanted = new Map<string, { metadata?: unknown; setup_future_usage?: string } | undefined>();

  function find(method: string, path: string) {
    for (const [name, row] of Object.entries(api)) {
      const [wantedMethod, template] = name.split(" ") as [string, string];
      const match = new RegExp(`^${template.replace(":id", "([^/]+)")}$`).exec(path);
      if (wantedMethod === method && match !== null) return { row, id: match[1] ?? "" };
    }
    throw new Refusal(404, { message: `Unrecognized request URL (${method}: ${path}).` });
  }

  async function answerApi(incoming: IncomingMessage, outgoing: ServerResponse, text: string, target: URL): Promise<void> {
    const method = incoming.method ?? "GET";
    const key = (incoming.headers["idempotency-key"] as string | undefined) ?? null;
    const form = method === "POST" ? text : target.search.slice(1);
    const request = `${method} ${target.pathname} ${form}`;
    const failure = failures.findIndex((each) => each.path === target.pathname);
    const how = failure === -1 ? null : (failures.splice(failure, 1)[0]?.how ?? null);
    let reply: { status: number; body: unknown };
    try {
      if (incoming.headers.authorization !== `Bearer ${secretKey}`) throw new Refusal(401, { message: "Invalid API Key provided" });
      if (incoming.headers["stripe-version"] !== API_VERSION) throw new Refusal(400, { message: "another API version" });
      if (how === "error") throw new Refusal(500, { type: "api_error", message: "An unknown error occurred" });
      const params = decodeForm(form);
      calls.push({ method, path: target.pathname, params, idempotencyKey: key });
      await hanging.get(target.pathname);
      const before = key === null || method !== "POST" ? undefined : answers.get(key);
      if (before !== undefined && before.request !== request)
        throw new Refusal(400, {
          type: "idempotency_error",
          message: "Keys for idempotent requests can only be used with the same parameters",
        });
      if (before === undefined) {
        const { row, id } = find(method, target.pathname);
        const problem = checkParams(...row.params, params);
        if (problem !== null) throw new Refusal(400, { code: "parameter_unknown", ...problem });
        try {
          reply = { status: 200, body: structuredClone(row.run(id, params)) };
        } catch (error) {
          if (!(error instanceof Refusal)) throw error;
          reply = { status: error.status, body: structuredClone({ error: error.error }) };
        }
        // Stripe stores the answer, errors included, of every call that it began to carry out.
        if (key !== null && method === "POST") answers.set(key, { request, ...reply });
      } else reply = before;
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      reply = { status: error.status, body: { error: error.error } };
    }
    if (how === "lost") return void outgoing.destroy();
    outgoing.writeHead(reply.status, { "content-type": "application/json", "request-id": newId("req") }).end(JSON.stringify(reply.body));
  }

  /** A minimal payment page. */
  async function answerPage(incoming: IncomingMessage, outgoing: ServerResponse, target: URL): Promise<void> {
    const [, , , id = "", action] = target.pathname.split("/");
    const session = get(id);
    if (incoming.method === "POST" && action === "pay") {
      const events = fake.pay(id);
      if (fake.webhookUrl !== null) for (const each of events) await fake.deliver(each, fake.webhookUrl);
      return void outgoing.writeHead(303, { location: session.success_url as string }).end();
    }
    outgoing.writeHead(200, { "content-type": "text/html" }).end(`<!doctype html><html lang="en"><title>Stripe</title>
      <h1>Pay $${(Number(session.amount_total) / 100).toFixed(2)}</h1>
      <form method="post" action="/c/pay/${id}/pay"><button>Pay</button></form><a href="${session.cancel_url}">Back</a></html>`);
  }

  const server = createServer((incoming, outgoing) => {
    void (async () => {
      const parts: Buffer[] = [];
      for await (const part of incoming as AsyncIterable<Buffer>) parts.push(part);
      const target = new URL(incoming.url ?? "/", url);
      if (target.pathname.startsWith("/c/pay/")) await answerPage(incoming, outgoing, target);
      else await answerApi(incoming, outgoing, Buffer.concat(parts).toString("utf8"), target);
    })().catch((error: unknown) => outgoing.destroy(error instanceof Error ? error : undefined));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  /** Adds a balance transaction in our balance's currency; the fee is a separate one. */
  function moveMoney(id: string, amount: number) {
    const moved = get(id).balance_transactions as object[];
    const category = amount < 0 ? "dispute" : "dispute_reversal";
    const made = { object: "balance_transaction", amount, currency: "usd", fee: 1_500, reporting_category: category };
    return change(id, { balance_transactions: [...moved, made] });
  }

  const fake: FakeStripe = {
    url,
    secretKey,
    webhookSecret,
    env: { STRIPE_SECRET_KEY: secretKey, STRIPE_WEBHOOK_SECRET: webhookSecret, STRIPE_API_URL: url },
    calls,
    charged: () =>
      new Map(
        [...things.values()].filter(({ object }) => object === "charge").map((each) => [String(each.payment_intent), Number(each.amount)]),
      ),
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
    setCard: (paymentMethodId, card) => void cards.set(paymentMethodId, card),
    detachCard: (paymentMethodId) => void change(paymentMethodId, { customer: null }),
    failNext(path, how, times = 1) {
      for (let n = 0; n < times; n++) failures.push({ path, how });
    },
    hang(path) {
      const { promise, resolve } = Promise.withResolvers<void>();
      hanging.set(path, promise);
      return () => {
        hanging.delete(path);
        resolve();
      };
    },
    takeEvents() {
      const events = waiting;
      waiting = [];
      return events;
    },
    sign(event, { secret = webhookSecret, timestamp } = {}) {
      const body = JSON.stringify(event);
      const options = { payload: body, secret, ...(timestamp === undefined ? {} : { timestamp }) };
      const header = library.webhooks.generateTestHeaderString(options);
      return { method: "POST", headers: { "stripe-signature": header, "content-type": "application/json" }, body };
    },
    deliver: (event, to) => fetch(to, fake.sign(event)),
    webhookUrl: null,
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
  return fake;
}

type Params = Record<string, unknown>;

class Refusal extends Error {
  readonly status: number;
  readonly error: object;
  constructor(status: number, error: { message: string; type?: string; [field: string]: unknown }) {
    super(error.message);
    this.status = status;
    this.error = { type: "invalid_request_error", ...error };
  }
}
