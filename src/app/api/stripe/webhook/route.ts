import Stripe from "stripe";
import { env } from "#env";
import { stripe } from "#server/payments/stripe.ts";
import { handleEvent } from "#server/payments/webhook.ts";
import { isDatabaseAway, RETRY_AFTER_SECONDS } from "#server/platform/away.ts";
import { log } from "#server/platform/log.ts";

export const dynamic = "force-dynamic";

// Stripe's events are a few kilobytes.
const MOST_BYTES = 1024 * 1024;

/** Receives Stripe's events. Stripe repeats an event that is not answered with 2xx, for three days. */
export async function POST(request: Request): Promise<Response> {
  const client = stripe();
  if (client === null || env.STRIPE_WEBHOOK_SECRET === undefined) return answer(503, "Payments are not configured on this server.");
  const body = await readBytes(request);
  if (body === null) return answer(413, "The event is too large.");
  let event: Stripe.Event;
  try {
    // Verified over the received bytes: parsing and serializing could change them.
    event = client.webhooks.constructEvent(body, request.headers.get("stripe-signature") ?? "", env.STRIPE_WEBHOOK_SECRET);
  } catch (error) {
    if (!(error instanceof Stripe.errors.StripeSignatureVerificationError))
      log.warn("an event for the Stripe webhook cannot be read", { error });
    return answer(400, "The signature does not fit.");
  }
  try {
    await handleEvent(event);
    return answer(200, "Taken.");
  } catch (error) {
    if (isDatabaseAway(error)) {
      log.warn("the database was away for an event of Stripe; Stripe sends it again", { event: event.id, type: event.type, error });
      return answer(503, "The database cannot be reached.", { "retry-after": String(RETRY_AFTER_SECONDS) });
    }
    log.error("an event of Stripe could not be carried out; Stripe sends it again", { event: event.id, type: event.type, error });
    return answer(500, "The event could not be carried out.");
  }
}

function answer(status: number, message: string, headers: Record<string, string> = {}): Response {
  return Response.json({ message }, { status, headers: { "cache-control": "no-store", ...headers } });
}

async function readBytes(request: Request): Promise<Buffer | null> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of (request.body ?? []) as AsyncIterable<Uint8Array>) {
    length += part.byteLength;
    if (length > MOST_BYTES) return null;
    parts.push(part);
  }
  return Buffer.concat(parts);
}
