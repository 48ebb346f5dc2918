import Stripe from "stripe";
import { publicUrl } from "#env";
import type { Payment } from "../../generated/prisma/client.ts";
import { prisma, transaction } from "../platform/db.ts";
import { AppError } from "../platform/errors.ts";
import { isUuid, newId } from "../platform/ids.ts";
import { log } from "../platform/log.ts";
import { ensureBilling } from "./billing.ts";
import { markOver } from "./fulfil.ts";
import { findPackage, type Package } from "./packages.ts";
import { paymentProvider } from "./provider.ts";
import { checkReturnUrl, withOutcome } from "./return-url.ts";
import { CARD_IS_GONE, PAYMENT_ID, stripe } from "./stripe.ts";
import { syncCheckout } from "./sync.ts";

/** How long a checkout can be paid. Stripe allows 30 minutes to 24 hours. */
const OPEN_MS = 2 * 60 * 60 * 1000;

export type CheckoutRequest = {
  owner: { userId: string; walletId: string };
  packageId: string;
  /** Where the browser goes after the checkout; the wallet page when absent. */
  returnUrl?: string | undefined;
  /** The app that asks, with the addresses that the browser may be sent to. */
  app?: { id: string; externalUserId: string | null; redirectUris: readonly string[]; siteUrl: string | null } | undefined;
  /** Saves the card for auto top-up. */
  saveCard?: boolean;
};

/** The server sells no package of this id, or sells it no longer. */
export function noSuchPackage(): AppError {
  return new AppError("bad_request", { param: "package_id", message: "There is no such package.", hint: "GET /v1/packages lists them." });
}

/**
 * Opens a checkout for a wallet; returns the address of the page where it is paid. Throws
 * `bad_request` for an unknown package or a return address that the app has not registered,
 * `rate_limit_exceeded` when 30 checkouts are open, `not_found` when the account is deleted, and
 * `payments_unavailable` when payments are not configured or Stripe does not answer.
 */
export async function openCheckout(ask: CheckoutRequest): Promise<{ url: string }> {
  const bought = findPackage(ask.packageId);
  if (bought === undefined) throw noSuchPackage();
  const returnUrl = checkReturnUrl(ask.returnUrl ?? "/wallet", ask.app ?? null);
  if (returnUrl === null) {
    throw new AppError("bad_request", {
      param: "return_url",
      message: "`return_url` must be an address of a site or redirect URI that your app has registered.",
    });
  }
  const provider = paymentProvider();
  if (provider === "none") throw new AppError("payments_unavailable", { message: "Payments are not configured on this server." });
  await refuseTooMany(ask);
  const payment = await transaction(async (tx) => {
    // The lock orders this against deleting the account: the deletion waits and then closes this checkout, or this finds no user.
    if ((await tx.query(keepUserStatement, [ask.owner.userId])).length === 0)
      throw new AppError("not_found", { message: "The account whose wallet this is for was deleted." });
    return tx.prisma.payment.create({
      data: {
        id: newId(),
        ...ask.owner,
        provider,
        amount: bought.credits,
        cents: bought.cents,
        appId: ask.app?.id ?? null,
        externalUserId: ask.app?.externalUserId ?? null,
        returnUrl,
        saveCard: ask.saveCard ?? false,
        expiresAt: new Date(Date.now() + OPEN_MS),
      },
    });
  });
  if (provider === "sandbox") return { url: `${publicUrl()}/checkout/${payment.id}` };
  try {
    return { url: await openSession(payment, bought) };
  } catch (error) {
    // No browser got the checkout's address, so it cannot be paid.
    await transaction((tx) => markOver(tx, payment.id, "failed", "Stripe did not open a checkout."));
    if (error instanceof Stripe.errors.StripeError) throw new AppError("payments_unavailable", { cause: error });
    throw error;
  }
}

const keepUserStatement = {
  name: "payments_keep_person",
  text: `SELECT id FROM "user" WHERE id = $1::uuid AND deleted_at IS NULL FOR KEY SHARE`,
};

const MOST_OPEN = 30;
const HOUR_MS = 60 * 60 * 1000;

/** Each checkout is calls to Stripe. Counted for each app, so that one app cannot use up another's. */
async function refuseTooMany({ owner, app }: CheckoutRequest): Promise<void> {
  const since = new Date(Date.now() - HOUR_MS);
  const open = await (await prisma()).payment.count({
    where: { walletId: owner.walletId, appId: app?.id ?? null, status: "open", createdAt: { gte: since } },
  });
  if (open >= MOST_OPEN) {
    throw new AppError("rate_limit_exceeded", {
      message: "Too many checkouts of this wallet are open. Finish one of them, or wait an hour.",
      headers: { "retry-after": "3600" },
    });
  }
}

async function openSession(payment: Payment, bought: Package): Promise<string> {
  await ensureBilling(payment);
  const customer = await customerOf(payment.userId);
  try {
    return await createSession(payment, bought, customer);
  } catch (error) {
    if (!isMissing(error, "customer")) throw error;
    await forgetMissingCustomer(payment, customer);
    return createSession(payment, bought, await customerOf(payment.userId));
  }
}

/** For a customer that was deleted at Stripe, and the saved card with it: auto top-up waits for the card of this checkout, or stops. */
async function forgetMissingCustomer({ userId, saveCard }: Payment, customerId: string): Promise<void> {
  const without = { customerId: null, paymentMethodId: null, paymentMethod: null };
  await transaction(async ({ prisma }) => {
    await prisma.billing.updateMany({
      where: { userId, customerId, autoTopUp: "on" },
      data: saveCard ? { autoTopUp: "waiting_for_card" } : { autoTopUp: "stopped", autoProblem: CARD_IS_GONE },
    });
    await prisma.billing.updateMany({ where: { userId, customerId }, data: without });
  });
}

async function createSession(payment: Payment, bought: Package, customer: string): Promise<string> {
  const marks = { [PAYMENT_ID]: payment.id, quota_user_id: payment.userId, quota_package: bought.id };
  const back = `${publicUrl()}/checkout/${payment.id}/return`;
  const session = await needStripe().checkout.sessions.create(
    {
      mode: "payment",
      customer,
      client_reference_id: payment.id,
      metadata: marks,
      line_items: [
        {
          quantity: 1,
          price_data: { currency: "usd", unit_amount: bought.cents, product_data: { name: "Quota credits" } },
        },
      ],
      // On the payment too, because the payment's own events do not have the session's metadata.
      payment_intent_data: {
        metadata: marks,
        description: "Quota credits",
        ...(payment.saveCard ? { setup_future_usage: "off_session" as const } : {}),
      },
      // Cards only: other methods cannot be charged without the user.
      ...(payment.saveCard ? { allowed_payment_method_types: ["card" as const] } : {}),
      // With adaptive pricing a refund could be in another currency than the credits were sold in.
      adaptive_pricing: { enabled: false },
      success_url: back,
      cancel_url: `${back}?cancelled=1`,
      expires_at: Math.floor(payment.expiresAt.getTime() / 1000),
    },
    { idempotencyKey: `quota-checkout-${payment.id}-${customer}` },
  );
  if (session.url === null) throw new Error(`Stripe's checkout ${session.id} has no address`);
  await (await prisma()).payment.update({ where: { id: payment.id }, data: { sessionId: session.id } });
  return session.url;
}

/** The id of the user's customer at Stripe, created at the first call. */
async function customerOf(userId: string): Promise<string> {
  const db = await prisma();
  const { customerId, user } = await db.billing.findUniqueOrThrow({
    where: { userId },
    select: { customerId: true, user: { select: { email: true } } },
  });
  if (customerId !== null) return customerId;
  const made = await needStripe().customers.create({ email: user.email, metadata: { quota_user_id: userId } });
  // Of two concurrent calls the first one's customer is kept; the other one stays unused at Stripe.
  await db.billing.updateMany({ where: { userId, customerId: null }, data: { customerId: made.id } });
  const kept = await db.billing.findUniqueOrThrow({ where: { userId }, select: { customerId: true } });
  return kept.customerId ?? made.id;
}

/** Deletes a customer at Stripe, with its saved cards, after the account was deleted. Logs a failure and does not throw. */
export async function deleteStripeCustomer(customerId: string): Promise<void> {
  try {
    await stripe()?.customers.del(customerId);
  } catch (error) {
    if (!isMissing(error)) log.error("a customer could not be deleted at Stripe", { customer: customerId, error });
  }
}

/**
 * Where the browser goes after a checkout; null when there is no such checkout. Asks Stripe for the
 * checkout's state first, so that the credits are in the wallet even when Stripe's event is late.
 */
export async function returnFrom(id: string, cancelled: boolean): Promise<string | null> {
  const db = await prisma();
  const payment = isUuid(id) ? await db.payment.findUnique({ where: { id } }) : null;
  if (payment === null || payment.returnUrl === null) return null;
  if (payment.provider === "stripe" && payment.status !== "paid" && !cancelled) {
    // Anyone with this address can open it, so reloading asks Stripe at most once in three seconds.
    const justNow = new Date(Date.now() - 3_000);
    const mayAsk = { id, OR: [{ askedAt: null }, { askedAt: { lt: justNow } }] };
    const { count } = await db.payment.updateMany({ where: mayAsk, data: { askedAt: new Date() } });
    try {
      if (count === 1) await syncCheckout(payment);
    } catch (error) {
      log.warn("a checkout could not be looked up at Stripe; its webhook or the next round will tell", { payment: id, error });
    }
  }
  const { status } = await db.payment.findUniqueOrThrow({ where: { id }, select: { status: true } });
  return withOutcome(payment.returnUrl, status === "paid" ? "paid" : cancelled ? "cancelled" : "processing");
}

function needStripe(): Stripe {
  const client = stripe();
  if (client === null) throw new Error("Stripe is not configured");
  return client;
}

/** Whether Stripe answered that an object (with `param`: that parameter's) does not exist. */
export function isMissing(error: unknown, param?: string): boolean {
  return error instanceof Stripe.errors.StripeError && error.code === "resource_missing" && (param === undefined || error.param === param);
}
