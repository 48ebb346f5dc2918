import type { Tx } from "../platform/db.ts";
import { prisma } from "../platform/db.ts";

/** Why automatic top-ups stop when money goes back, as the wallet says it. */
export const WENT_BACK = {
  refund: "A top-up was refunded.",
  dispute: "A top-up was disputed at your bank.",
} as const;

/** The row about how a person fills their wallet, made when it is first needed. */
export async function ensureBilling({ userId, walletId }: { userId: string; walletId: string }): Promise<void> {
  await (await prisma()).billing.createMany({ data: { userId, walletId }, skipDuplicates: true });
}

/** For an account that ends: no card is charged any more. Stripe's customer, to be deleted there. */
export async function endBilling(tx: Tx, userId: string): Promise<string | null> {
  const billing = await tx.prisma.billing.findUnique({ where: { userId }, select: { customerId: true } });
  if (billing === null) return null;
  await tx.prisma.billing.update({
    where: { userId },
    data: { autoTopUp: "off", paymentMethodId: null, paymentMethod: null, customerId: null, lowBalanceMail: false },
  });
  return billing.customerId;
}

/** Locks how a wallet is filled for the rest of the transaction; the last lock that anybody takes. */
export async function lockBilling(tx: Tx, walletId: string): Promise<void> {
  await tx.query(lockBillingStatement, [walletId]);
}

const lockBillingStatement = {
  name: "payments_lock_billing",
  text: `SELECT wallet_id FROM billing WHERE wallet_id = $1::uuid FOR NO KEY UPDATE`,
};
