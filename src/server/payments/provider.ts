import { env } from "#env";

type Settings = Pick<typeof env, "STRIPE_SECRET_KEY" | "QUOTA_SANDBOX_CHECKOUT" | "NODE_ENV" | "DATABASE_URL">;

/**
 * How wallets are filled on this server. With a Stripe key by Stripe and nothing
 * else. Without one by our own page, where no money moves, if that is allowed: by
 * itself only in development, and on the embedded database as long as no model costs
 * the operator anything.
 */
export function paymentProvider(settings: Settings = env, modelsCost: boolean = hasModelProvider(settings)): "stripe" | "sandbox" | "none" {
  if (settings.STRIPE_SECRET_KEY !== undefined) return "stripe";
  if (settings.QUOTA_SANDBOX_CHECKOUT === "on") return "sandbox";
  if (settings.QUOTA_SANDBOX_CHECKOUT === "off") return "none";
  return settings.NODE_ENV !== "production" || (settings.DATABASE_URL === undefined && !modelsCost) ? "sandbox" : "none";
}

/** A key or an address of any provider of models is set. */
function hasModelProvider(settings: object): boolean {
  return Object.entries(settings).some(([name, value]) => /_(API_KEY|BASE_URL)$/.test(name) && value !== undefined);
}
