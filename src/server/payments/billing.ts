import type { Tx } from "../platform/db.ts";
import { prisma } from "../platform/db.ts";

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
