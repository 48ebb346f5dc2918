import { publicUrl } from "#env";
import { dollars, exactDollars } from "#money";
import type { Payment } from "../../generated/prisma/client.ts";
import { prisma } from "../platform/db.ts";
import { log } from "../platform/log.ts";
import { mailGoes, sendLater } from "../platform/mail.ts";
import type { Reversed } from "./fulfil.ts";

/** Mails about money. The wallet page shows the same, so a mail may be lost without harm. */

async function mail(userId: string, subject: string, lines: string[]): Promise<void> {
  // Without a mail server, `sendLater` would log an error for every payment.
  if (mailGoes() === "nowhere") return;
  const user = await (await prisma()).user.findFirst({ where: { id: userId, deletedAt: null }, select: { email: true } });
  if (user !== null) sendLater({ to: user.email, subject, text: lines.join("\n\n") });
}

function later(work: Promise<void>): void {
  void work.catch((error) => log.error("a mail about a payment could not be made", { error }));
}

const wallet = () => `${publicUrl()}/wallet`;

export function mailReceipt(payment: Payment, owes: bigint): void {
  const sandbox = payment.provider === "sandbox";
  later(
    mail(payment.userId, `${dollars(payment.amount)} added to your Quota wallet`, [
      `${dollars(payment.amount)} ${payment.automatic ? "were added automatically" : "were added"} to your wallet.${sandbox ? " This was the sandbox checkout: no money moved." : ""}`,
      ...(owes > 0n
        ? [
            `All of it repaid what a refund or dispute had left open; ${exactDollars(owes)} are open still, and until then the wallet is frozen.`,
          ]
        : []),
      `Your receipt: ${publicUrl()}/wallet/receipts/${payment.id}`,
      ...(payment.automatic ? [`Change or end automatic top-ups: ${wallet()}/top-ups`] : []),
    ]),
  );
}

/** Says in one mail what a refund or dispute changed; sends none when it changed nothing. */
export function mailReversal({ payment, kind, change, stopped, forgot }: Reversed): void {
  const topUp = `top-up of ${dollars(payment.amount)}`;
  const yours = `Your wallet: ${wallet()}`;
  const off = `Automatic top-ups are off, so that nothing is charged by itself. Turn them on again: ${wallet()}/top-ups`;
  if (change?.what === "returned") {
    later(
      mail(payment.userId, "Credits are back in your Quota wallet", [
        kind === "refund" ? `The refund of your ${topUp} did not go through.` : `The dispute of your ${topUp} was decided.`,
        `${exactDollars(change.amount)} of credits are back.`,
        yours,
      ]),
    );
  } else if (change?.what === "taken") {
    later(
      mail(payment.userId, `A ${topUp} was ${kind === "refund" ? "refunded" : "disputed"}`, [
        `The credits of this ${kind} were taken back from your wallet: ${exactDollars(change.amount)}.`,
        ...(change.owed > 0n
          ? [
              `${exactDollars(change.owed)} of them were spent already. Your wallet is frozen until a top-up covers that; it repays this first.`,
            ]
          : []),
        ...(stopped ? [off] : []),
        ...(forgot ? ["Your saved card is not kept any more. You can leave another when you turn automatic top-ups on."] : []),
        yours,
      ]),
    );
  } else if (stopped) {
    const why = kind === "refund" ? `A ${topUp} was refunded.` : `Your bank asks about a ${topUp}.`;
    later(mail(payment.userId, "Automatic top-ups are off", [`${why} No credits were taken back so far.`, off, yours]));
  }
}

export function mailAutoTopUpStopped(payment: Payment, problem: string): void {
  later(
    mail(payment.userId, "An automatic top-up did not work", [
      `${dollars(payment.amount)} could not be added to your wallet. ${problem}`,
      "Automatic top-ups are off until you put them on again. Nothing was charged.",
      `Add credits yourself: ${wallet()}/add\nAutomatic top-ups: ${wallet()}/top-ups`,
    ]),
  );
}

export function mailLowBalance(userId: string, balance: bigint): void {
  later(
    mail(userId, `Your Quota wallet has ${dollars(balance)} left`, [
      `Apps that use your wallet stop when it is empty.`,
      `Add credits: ${wallet()}/add\nNo more mails like this: ${wallet()}/top-ups`,
    ]),
  );
}
