import type { Metadata } from "next";
import Link from "next/link";
import { requireUser } from "#server/people/auth.ts";
import { caller } from "#server/trpc/caller.ts";
import { Button } from "#ui/button.tsx";
import { Card } from "#ui/card.tsx";
import { PageHeading, SectionHeading } from "#ui/heading.tsx";
import { Money } from "#ui/money.tsx";
import { PasswordForm } from "./password-form.tsx";
import { DeleteAccount, SignOutEverywhere } from "./sessions.tsx";

export const metadata: Metadata = { title: "Security" };

const providerNames: Record<string, string> = { google: "Google", github: "GitHub" };

export default async function Security() {
  const user = await requireUser("/wallet/security");
  const { account } = await caller();
  const [{ password, providers, appsInUse, unsettledPayment }, proofNeeded] = await Promise.all([
    account.overview(),
    account.proofNeeded(),
  ]);
  const names = providers.map((provider) => providerNames[provider] ?? provider).join(" and ");
  return (
    <div className="mx-auto w-full max-w-[42.5rem] px-4 py-8 sm:px-6">
      <PageHeading title="Security">
        You sign in as <span className="font-medium text-ink [overflow-wrap:anywhere]">{user.email}</span>
        {names && `, also through ${names}`}.
      </PageHeading>
      <Card className="p-4 sm:p-6">
        <h2 className="font-semibold">Password</h2>
        {password ? (
          <PasswordForm email={user.email} />
        ) : (
          <>
            <p className="mt-1 text-soft">You have none: you sign in through {names}. We can mail you a link that sets one.</p>
            <Button asChild className="mt-4">
              <Link href="/forgot-password">Set a password</Link>
            </Button>
          </>
        )}
      </Card>
      <SectionHeading>Sessions</SectionHeading>
      <Card className="flex flex-wrap items-center justify-between gap-4 p-4 sm:p-6">
        <p className="min-w-0 flex-1 basis-64 text-soft">
          Ends every session, on this device too. Apps that you connected go on; disconnect those in your wallet.
        </p>
        <SignOutEverywhere />
      </Card>
      <SectionHeading>Delete this account</SectionHeading>
      <Card className="flex flex-wrap items-center justify-between gap-4 p-4 sm:p-6">
        {appsInUse.length === 0 && unsettledPayment !== null ? (
          <p className="text-soft">
            {unsettledPayment.kind === "owes" ? (
              <>
                Not possible yet, because your wallet owes <Money credits={unsettledPayment.amount} className="font-medium text-ink" />: a
                top-up was refunded or disputed after its credits were spent.{" "}
                <Link href="/wallet/add" className="prose-link">
                  Add credits
                </Link>{" "}
                to repay it.
              </>
            ) : (
              <>
                Not possible yet, because a payment of yours is under way and its credits would come to a wallet that is nobody’s.{" "}
                <Link href="/wallet/top-ups" className="prose-link">
                  Top-ups
                </Link>{" "}
                shows when it is settled.
              </>
            )}
          </p>
        ) : appsInUse.length === 0 ? (
          <>
            <p className="min-w-0 flex-1 basis-64 text-soft">
              Every app is disconnected, open checkouts are closed, and credits that are left are lost. This cannot be undone.
            </p>
            <DeleteAccount email={user.email} proofNeeded={proofNeeded} />
          </>
        ) : (
          <div className="text-soft">
            <p>Not possible yet, because other people pay through apps of yours:</p>
            <ul className="mt-2 list-disc pl-5 text-ink">
              {appsInUse.map((app) => (
                <li key={app.name} className="[overflow-wrap:anywhere]">
                  {app.name}, {app.linkedUsers} {app.linkedUsers === 1 ? "linked user" : "linked users"}
                </li>
              ))}
            </ul>
            <p className="mt-2">
              Unlink them first, in the{" "}
              <Link href="/dashboard" className="prose-link">
                dashboard
              </Link>{" "}
              under the app’s Linked users.
            </p>
          </div>
        )}
      </Card>
    </div>
  );
}
