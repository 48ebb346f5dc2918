import { expect, vi } from "vitest";
import { platformAccount } from "../server/ledger/accounts.ts";
import { transfer } from "../server/ledger/transfer.ts";
import { autoTopUpOf, startAutoTopUp, topUpAutomatically } from "../server/payments/auto-top-up.ts";
import type { Database } from "../server/platform/db.ts";
import { newId } from "../server/platform/ids.ts";
import type { withStripe } from "./payments.ts";

/** Users with a saved card and automatic top-ups, and the job that charges them; `stripe` is what `withStripe` returns. */
export function withAutoTopUp(db: () => Database, { fake, deliverAll, person }: ReturnType<typeof withStripe>) {
  const INTENTS = "/v1/payment_intents";

  /** A user who has saved a card at a checkout of $10, with automatic top-ups of $10 below $2 and up to $30 a month. */
  async function withCard(settings: Partial<Parameters<typeof startAutoTopUp>[1]> = {}) {
    const mara = await person();
    const started = await startAutoTopUp(mara.owner, {
      threshold: 2_000_000n,
      packageId: "usd_10",
      monthlyMaximum: 30_000_000n,
      ...settings,
    });
    expect(started).toBe("waiting_for_card");
    await deliverAll(fake().pay(await mara.checkout("usd_10", { saveCard: true })));
    const { paymentMethodId, customerId } = await db().prisma.billing.findUniqueOrThrow({ where: { userId: mara.id } });
    return {
      ...mara,
      card: paymentMethodId as string,
      customer: customerId as string,
      spend: (amount: bigint) =>
        transfer(db().sql, { id: newId(), debitId: mara.walletId, creditId: platformAccount.revenue, amount, reason: "correction" }),
      settings: () => autoTopUpOf(mara.walletId),
      turnOn: () => startAutoTopUp(mara.owner, { threshold: 2_000_000n, packageId: "usd_10", monthlyMaximum: 30_000_000n, ...settings }),
      /** The user's first PaymentIntent at Stripe, of the checkout that saved the card. */
      firstIntent: async () =>
        (
          await db().prisma.paymentIntent.findFirstOrThrow({
            where: { payment: { walletId: mara.walletId } },
            orderBy: { paymentId: "asc" },
          })
        ).id,
      charges: () =>
        fake().calls.filter(({ method, path, params }) => method === "POST" && path === INTENTS && params.customer === customerId),
      charged: () => db().prisma.payment.count({ where: { walletId: mara.walletId, automatic: true, status: "paid" } }),
    };
  }
  /** Makes the first charge fail; `lost`: Stripe charges, and its answer is lost. */
  async function firstChargeFails(how: "lost" | "error") {
    fake().failNext(INTENTS, how, 3);
    const quiet = vi.spyOn(process.stderr, "write").mockReturnValue(true);
    await topUpAutomatically(db());
    quiet.mockRestore();
  }
  /** Runs a round of the job in four servers at once. */
  const rounds = (now?: Date) => Promise.all([1, 2, 3, 4].map(() => topUpAutomatically(db(), now)));

  return { INTENTS, withCard, firstChargeFails, rounds };
}
