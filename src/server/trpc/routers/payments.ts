import { z } from "zod";
import { publicUrl } from "#env";
import { debtOf } from "../../ledger/debts.ts";
import { autoTopUpOf, removeCard, startAutoTopUp, stopAutoTopUp } from "../../payments/auto-top-up.ts";
import { ensureBilling } from "../../payments/billing.ts";
import { noSuchPackage, openCheckout } from "../../payments/checkout.ts";
import { topUps } from "../../payments/history.ts";
import { packages } from "../../payments/packages.ts";
import { paymentProvider } from "../../payments/provider.ts";
import { callbackPath } from "../../people/callback-path.ts";
import { database, prisma } from "../../platform/db.ts";
import { AppError } from "../../platform/errors.ts";
import * as answers from "../answers.ts";
import { router, userProcedure } from "../trpc.ts";

const packageId = z.string().max(40);
const credits = z.bigint().max(1_000_000_000_000n, "An amount is at most $1,000,000.");

/** Top-ups of the signed-in user's wallet, which is also what a developer pays from. */
export const paymentsRouter = router({
  /** The packages of credits, and the payment provider. */
  offer: userProcedure.output(answers.offer).query(() => ({ provider: paymentProvider(), packages: packages() })),

  /** Opens a checkout; `returnTo` is a path on this server. */
  checkout: userProcedure
    .input(z.object({ packageId, returnTo: z.string().max(2000).default("/wallet"), saveCard: z.boolean().default(false) }))
    .output(answers.checkout)
    .mutation(({ ctx, input }) =>
      openCheckout({
        owner: ownerOf(ctx.user),
        packageId: input.packageId,
        returnUrl: callbackPath(input.returnTo, publicUrl(), "/wallet"),
        saveCard: input.saveCard,
      }),
    ),

  /** The wallet's debt in credits; 0 when there is none. */
  debt: userProcedure.output(answers.debt).query(async ({ ctx }) => debtOf((await database()).sql, ctx.user.walletId)),

  topUps: userProcedure
    .input(z.object({ cursor: z.uuid().nullish(), take: z.number().int().min(1).max(100).default(20) }))
    .output(answers.pageOf(answers.topUp))
    .query(({ ctx, input }) => topUps(ctx.user.walletId, { before: input.cursor ?? undefined, take: input.take })),

  settings: userProcedure.output(answers.autoTopUp).query(({ ctx }) => autoTopUpOf(ctx.user.walletId)),

  /** Turns automatic top-ups on. Without a saved card the answer has the URL of a checkout that saves one. */
  startAutoTopUp: userProcedure
    .input(
      z.object({
        threshold: credits.min(10_000n, "Write at least $0.01."),
        packageId,
        monthlyMaximum: credits,
      }),
    )
    .output(answers.checkoutIfNeeded)
    .mutation(async ({ ctx, input }) => {
      if (paymentProvider() !== "stripe")
        throw new AppError("payments_unavailable", { message: "Automatic top-ups need a payment provider, and this server has none." });
      const owner = ownerOf(ctx.user);
      const outcome = await startAutoTopUp(owner, input);
      if (outcome === "no such package") throw noSuchPackage();
      if (outcome === "threshold too high")
        throw new AppError("bad_request", { param: "threshold", message: "Choose a balance that one top-up can reach." });
      if (outcome === "maximum too low")
        throw new AppError("bad_request", { param: "monthlyMaximum", message: "The maximum has to cover at least one top-up." });
      if (outcome === "on") return { url: null };
      return openCheckout({ owner, packageId: input.packageId, returnUrl: "/wallet/top-ups", saveCard: true });
    }),

  stopAutoTopUp: userProcedure.output(answers.nothing).mutation(({ ctx }) => stopAutoTopUp(ctx.user.walletId)),

  removeCard: userProcedure.output(answers.nothing).mutation(({ ctx }) => removeCard(ctx.user.walletId)),

  setLowBalanceMail: userProcedure
    .input(z.object({ on: z.boolean() }))
    .output(answers.nothing)
    .mutation(async ({ ctx, input }) => {
      await ensureBilling(ownerOf(ctx.user));
      await (await prisma()).billing.update({ where: { walletId: ctx.user.walletId }, data: { lowBalanceMail: input.on } });
    }),
});

function ownerOf(user: { id: string; walletId: string }) {
  return { userId: user.id, walletId: user.walletId };
}
