import { z } from "zod";
import { exactDollars } from "#money";
import { changePassword, rename, requestReset, resetPassword, signOutEverywhere, waysToSignIn } from "../../people/account.ts";
import { appsInUse, type Deletion, deleteAccount, unsettledPayment } from "../../people/delete-account.ts";
import { proofNeeded } from "../../people/proof-of-identity.ts";
import { finishSignUp, startSignUp } from "../../people/sign-up.ts";
import { AppError } from "../../platform/errors.ts";
import { mailGoes } from "../../platform/mail.ts";
import * as answers from "../answers.ts";
import * as fields from "../fields.ts";
import { passwordInput, requireProof, router, userProcedure, visitorProcedure } from "../trpc.ts";

const token = z.string().max(200);

/** Visitors get the same answers whether or not an email address has an account. */
export const accountRouter = router({
  /** Mails the code that `finishSignUp` takes. */
  startSignUp: visitorProcedure
    .input(z.object({ email: fields.email, password: fields.password }))
    .output(answers.signUp)
    .mutation(async ({ ctx, input }) => {
      needsMail();
      return startSignUp({ ...input, ip: ctx.ip });
    }),

  finishSignUp: visitorProcedure
    .input(z.object({ signUpId: z.uuid(), code: z.string().max(40) }))
    .output(answers.nothing)
    .mutation(async ({ ctx, input }) => {
      if (!(await finishSignUp({ ...input, ip: ctx.ip })))
        throw new AppError("bad_request", {
          message: "This code is not right, or it is too old. Check the newest mail; after five wrong codes start again.",
        });
    }),

  /** Mails a link that sets a new password. */
  requestReset: visitorProcedure
    .input(z.object({ email: fields.email }))
    .output(answers.nothing)
    .mutation(async ({ ctx, input }) => {
      needsMail();
      await requestReset({ ...input, ip: ctx.ip });
    }),

  /** Sets a new password with the token of the mailed link; answers the email address of the account. */
  resetPassword: visitorProcedure
    .input(z.object({ token, password: fields.password }))
    .output(answers.passwordReset)
    .mutation(async ({ ctx, input }) => {
      const done = await resetPassword({ ...input, ip: ctx.ip });
      if (done === null) throw new AppError("bad_request", { message: "This link was used already, or it is too old. Ask for a new one." });
      return done;
    }),

  /** How the user can sign in, and what prevents deleting the account. */
  overview: userProcedure.output(answers.account).query(async ({ ctx }) => {
    const { id: userId, walletId } = ctx.user;
    const [ways, apps, payment] = await Promise.all([waysToSignIn(userId), appsInUse(userId), unsettledPayment({ userId, walletId })]);
    return { ...ways, appsInUse: apps, unsettledPayment: payment };
  }),

  /** Sets the user's name; an empty one removes it. */
  rename: userProcedure
    .input(z.object({ name: z.literal("").or(fields.name) }))
    .output(answers.nothing)
    .mutation(({ ctx, input }) => rename(ctx.user.id, input.name === "" ? null : input.name)),

  /** Also ends every session, this one included. */
  changePassword: userProcedure
    .input(z.object({ current: z.string().max(1024), password: fields.password }))
    .output(answers.nothing)
    .mutation(async ({ ctx, input }) => {
      const { id: userId, email } = ctx.user;
      const outcome = await changePassword({ userId, email, current: input.current, next: input.password, ip: ctx.ip ?? "unknown" });
      if (outcome === "too many attempts") throw new AppError("too_many_attempts");
      if (outcome === "wrong password") throw new AppError("wrong_password", { message: "This is not your current password." });
    }),

  signOutEverywhere: userProcedure.output(answers.nothing).mutation(({ ctx }) => signOutEverywhere(ctx.user.id)),

  /** What `requireProof` asks of the user: the password, a new sign-in, or null for nothing. */
  proofNeeded: userProcedure.output(answers.proof).query(({ ctx }) => proofNeeded(ctx.user)),

  /** Deletes the account for good. `confirm` is the account's email address. */
  delete: userProcedure
    .input(z.object({ confirm: z.string().max(320), password: passwordInput }))
    .output(answers.nothing)
    .mutation(async ({ ctx, input }) => {
      if (input.confirm.trim().toLowerCase() !== ctx.user.email)
        throw new AppError("bad_request", { message: `Type ${ctx.user.email} to go on.` });
      await requireProof(ctx, input.password);
      const outcome = await deleteAccount(ctx.user.id);
      if (outcome.kind !== "deleted") throw new AppError("precondition_failed", { message: whyNotDeleted(outcome) });
    }),
});

function whyNotDeleted(outcome: Exclude<Deletion, { kind: "deleted" }>): string {
  switch (outcome.kind) {
    case "apps in use":
      return `People are still linked to ${outcome.names.join(", ")}. Unlink them first.`;
    case "owes":
      return `Your wallet owes ${exactDollars(outcome.amount)}, because a top-up was refunded or disputed after its credits were spent. Add credits to repay it, then delete the account.`;
    case "payment under way":
      return "A payment of yours is under way, and its credits would come to a wallet that is nobody’s. Top-ups shows when it is settled; delete the account then.";
    case "checkout paid":
      return "A checkout that you had open was paid, and its credits have just come in. They would be lost: look at your wallet, and delete the account after that.";
    case "checkout open":
      return "A checkout of yours is open and could not be closed just now. Wait a few minutes, then try again.";
  }
}

function needsMail(): void {
  if (mailGoes() === "nowhere") throw new AppError("mail_unavailable");
}
