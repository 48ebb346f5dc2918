import { type Params, Refusal, type StripeState } from "./fake-stripe-state.ts";

/** One call of Stripe's API: the type of its parameters in Stripe's library, and what it does. */
export type StripeCall = { params: [string, string]; run(id: string, params: Params): unknown };

/** Finds the call of a method and path. `url` is the fake's own, for its payment page. Throws a Refusal when Stripe has no such call. */
export function stripeCalls(state: StripeState, url: () => string): (method: string, path: string) => { row: StripeCall; id: string } {
  const { things, cards, wanted, waiting, add, get, change, event, makeIntent, succeed, expanded } = state;

  /** The calls, by method and path. `:id` stands for an id in the path. */
  const api: Record<string, StripeCall> = {
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
        return change(session.id, { url: `${url()}/c/pay/${session.id}` });
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
  return function find(method, path) {
    for (const [name, row] of Object.entries(api)) {
      const [wantedMethod, template] = name.split(" ") as [string, string];
      const match = new RegExp(`^${template.replace(":id", "([^/]+)")}$`).exec(path);
      if (wantedMethod === method && match !== null) return { row, id: match[1] ?? "" };
    }
    throw new Refusal(404, { message: `Unrecognized request URL (${method}: ${path}).` });
  };
}
