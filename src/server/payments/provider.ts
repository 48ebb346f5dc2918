import { env } from "#env";

type Settings = Pick<typeof env, "STRIPE_SECRET_KEY" | "QUOTA_SANDBOX_CHECKOUT" | "NODE_ENV" | "DATABASE_URL">;

/**
 * How wallets are filled on this server. With a Stripe key: by Stripe only. Without one: by the
 * sandbox checkout, where no money moves, when QUOTA_SANDBOX_CHECKOUT is on. When that is not set, the
 * sandbox is open in development, and in production on the embedded database while no provider of
 * models is configured, whose bills the operator would pay.
 */
export function paymentProvider(settings: Settings = env, modelsCost: boolean = hasModelProvider(settings)): "stripe" | "sandbox" | "none" {
  if (settings.STRIPE_SECRET_KEY !== undefined) return "stripe";
  if (settings.QUOTA_SANDBOX_CHECKOUT === "on") return "sandbox";
  if (settings.QUOTA_SANDBOX_CHECKOUT === "off") return "none";
  return settings.NODE_ENV !== "production" || (settings.DATABASE_URL === undefined && !modelsCost) ? "sandbox" : "none";
}

/** Whether an API key or address of any provider of models is set. */
export function hasModelProvider(settings: object): boolean {
  return Object.entries(settings).some(([name, value]) => /_(API_KEY|BASE_URL)$/.test(name) && value !== undefined);
}
