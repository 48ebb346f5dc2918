import Stripe from "stripe";
import { env } from "#env";
import { processWide } from "../platform/process-wide.ts";

/** What Stripe's answers and events look like depends on this; the library's types are made for it. */
export const STRIPE_API_VERSION = "2026-10-28.endive";

/** The marks that our payments carry at Stripe, so that an event of anybody else's is known as such. */
export const PAYMENT_ID = "quota_payment_id";

/** Why a saved card can't be charged that Stripe does not have any more. */
export const CARD_IS_GONE = "Your card is no longer on file.";

/** What `stripe()` opened. */
export const theStripe = processWide("Stripe", (): { opened?: Stripe | undefined } => ({}));

/** The way to Stripe, or null when the operator has not configured it. Every call has a time limit and is made three times at most. */
export function stripe(): Stripe | null {
  if (env.STRIPE_SECRET_KEY === undefined) return null;
  theStripe.opened ??= openStripe(env.STRIPE_SECRET_KEY, env.STRIPE_API_URL);
  return theStripe.opened;
}

export function openStripe(secretKey: string, apiUrl: string | undefined): Stripe {
  const url = apiUrl === undefined ? null : new URL(apiUrl);
  return new Stripe(secretKey, {
    apiVersion: STRIPE_API_VERSION,
    timeout: env.QUOTA_STRIPE_TIMEOUT_MS,
    // With the idempotency key of the call, so a repeated one is carried out once.
    maxNetworkRetries: 2,
    telemetry: false,
    ...(url === null
      ? {}
      : {
          host: url.hostname,
          port: url.port === "" ? (url.protocol === "http:" ? 80 : 443) : url.port,
          protocol: url.protocol === "http:" ? ("http" as const) : ("https" as const),
        }),
  });
}

/** An object's id, whether or not Stripe sent the whole object. */
export function idOf(reference: string | { id: string } | null | undefined): string | null {
  return reference === null || reference === undefined ? null : typeof reference === "string" ? reference : reference.id;
}
