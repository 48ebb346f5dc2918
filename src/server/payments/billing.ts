import type { Tx } from "../platform/db.ts";
import { prisma } from "../platform/db.ts";

/** Why auto top-up stopped after a refund or dispute, as the wallet page says it. */
export const WENT_BACK = {
  refund: "A top-up was refunded.",
  dispute: "A top-up was disputed at your bank.",
} as const;

/** Creates the user's row of `billing` when there is none. */
export async function ensureBilling({ userId, walletId }: { userId: string; walletId: string }): Promise<void> {
  await (await prisma()).billing.createMany({ data: { userId, walletId }, skipDuplicates: true });
}

/** For deleting an account: no card can be charged after this. Returns the id of Stripe's customer, to be deleted there. */
export async function endBilling(tx: Tx, userId: string): Promise<string | null> {
  const billing = await tx.prisma.billing.findUnique({ where: { userId }, select: { customerId: true } });
  if (billing === null) return null;
  await tx.prisma.billing.update({
    where: { userId },
    data: { autoTopUp: "off", paymentMethodId: null, paymentMethod: null, customerId: null, lowBalanceMail: false },
  });
  return billing.customerId;
}

/** Locks a wallet's row of `billing` until the transaction ends. Of the locks in README.md it is taken last. */
export async function lockBilling(tx: Tx, walletId: string): Promise<void> {
  await tx.query(lockBillingStatement, [walletId]);
}

const lockBillingStatement = {
  name: "payments_lock_billing",
  text: `SELECT wallet_id FROM billing WHERE wallet_id = $1::uuid FOR NO KEY UPDATE`,
};
