import { createHmac, timingSafeEqual } from "node:crypto";
import type { Payment } from "../../generated/prisma/client.ts";
import { prisma, transaction } from "../platform/db.ts";
import { isUuid } from "../platform/ids.ts";
import { serverSecret } from "../platform/server-secret.ts";
import { markOver, markPaid } from "./fulfil.ts";
import { mailReceipt } from "./mails.ts";
import { paymentProvider } from "./provider.ts";
import { withOutcome } from "./return-url.ts";

/**
 * The sandbox checkout: a page of our own where no money moves, for trying Quota out. It works only
 * while it is the payment provider; a checkout that was opened before Stripe was configured can't be
 * paid here any more.
 */

/** The checkout for its page; null when the sandbox is closed or the user has no such checkout. */
export async function sandboxCheckout(id: string, userId: string): Promise<(Payment & { returnUrl: string }) | null> {
  if (paymentProvider() !== "sandbox" || !isUuid(id)) return null;
  const payment = await (await prisma()).payment.findFirst({ where: { id, userId, provider: "sandbox" } });
  return payment === null || payment.returnUrl === null ? null : { ...payment, returnUrl: payment.returnUrl };
}

export function isPayable(payment: Payment, now = new Date()): boolean {
  return payment.status === "open" && payment.expiresAt > now;
}

/** The form's token, which proves that we showed the form for this checkout to this user (CSRF). */
export async function sandboxToken(id: string, userId: string): Promise<string> {
  return createHmac("sha256", await serverSecret())
    .update(`sandbox checkout ${id} ${userId}`)
    .digest("base64url");
}

/**
 * Takes the form's answer: credits the wallet, once for any number of calls, or cancels the
 * checkout. Returns where the browser goes; null when the form's token is wrong.
 */
export async function answerSandbox(answer: { id: string; userId: string; token: string; pay: boolean }): Promise<string | null> {
  const checkout = await sandboxCheckout(answer.id, answer.userId);
  if (checkout === null) return null;
  const given = Buffer.from(answer.token);
  const expected = Buffer.from(await sandboxToken(answer.id, answer.userId));
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return null;
  const done = await transaction(async (tx) => {
    if (!answer.pay) return { ...(await markOver(tx, answer.id, "expired")), credited: false, owes: 0n };
    if (checkout.status !== "paid" && !isPayable(checkout)) return { payment: checkout, credited: false, owes: 0n };
    return markPaid(tx, answer.id, null);
  });
  if (done.credited) mailReceipt(done.payment, done.owes);
  return withOutcome(checkout.returnUrl, done.payment.status === "paid" ? "paid" : "cancelled");
}
