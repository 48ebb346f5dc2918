import { randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import Stripe from "stripe";
import { type StripeActions, stripeActions } from "./fake-stripe-actions.ts";
import { stripeCalls } from "./fake-stripe-calls.ts";
import { API_VERSION, type Card, Refusal, stripeState } from "./fake-stripe-state.ts";
import { checkParams, decodeForm } from "./stripe-params.ts";

/**
 * A fake of Stripe: the part of its HTTP API that payments use, its payment page for a browser, and its
 * webhooks, signed by the library's test helper. It refuses what Stripe refuses: undocumented fields,
 * another API version, a missing key, and an idempotency key used for another request. Tests call its
 * functions for what a user or a bank does.
 */
export type FakeStripe = StripeActions & {
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

/** The id of an event's object. */
export function idIn(event: { data: { object: unknown } } | undefined): string {
  return (event?.data.object as { id: string } | undefined)?.id ?? "";
}

export async function startFakeStripe(): Promise<FakeStripe> {
  const secretKey = `sk_test_${randomBytes(16).toString("hex")}`;
  const webhookSecret = `whsec_${randomBytes(24).toString("hex")}`;
  const library = new Stripe(secretKey);
  const calls: Call[] = [];
  const state = stripeState();
  const { things, cards, newId, get, change } = state;
  const answers = new Map<string, { request: string; status: number; body: unknown }>();
  const failures: { path: string; how: "lost" | "error" }[] = [];
  const hanging = new Map<string, Promise<void>>();
  const find = stripeCalls(state, () => url);

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
    ...stripeActions(state),
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
      return state.waiting.splice(0);
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
