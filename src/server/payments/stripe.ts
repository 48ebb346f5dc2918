import Stripe from "stripe";
import { env } from "#env";
import { processWide } from "../platform/process-wide.ts";

/** The version of Stripe's API that fixes the shape of answers and events; the library's types are made for it. */
export const STRIPE_API_VERSION = "2026-10-28.endive";

/** The metadata key of our payments at Stripe, which tells their events from those of other payments. */
export const PAYMENT_ID = "quota_payment_id";

/** Why a saved card can't be charged that is not the customer's any more. */
export const CARD_IS_GONE = "Your card is no longer on file.";

/** Holds the client that `stripe()` made. */
export const theStripe = processWide("Stripe", (): { opened?: Stripe | undefined } => ({}));

/** The client for Stripe, or null when the operator has not configured Stripe. Every call has a time limit and is tried at most three times. */
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
    // The library sends the call's idempotency key again, so a repeated call has one effect.
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

/** The id of an object that Stripe sent expanded or as an id. */
export function idOf(reference: string | { id: string } | null | undefined): string | null {
  return reference === null || reference === undefined ? null : typeof reference === "string" ? reference : reference.id;
}
