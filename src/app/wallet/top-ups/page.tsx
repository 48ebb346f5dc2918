import type { Metadata } from "next";
import { Suspense } from "react";
import { requireUser } from "#server/people/auth.ts";
import { caller } from "#server/trpc/caller.ts";
import { EmptyState } from "#ui/card.tsx";
import { PageHeading, SectionHeading } from "#ui/heading.tsx";
import { Loading } from "#ui/skeleton.tsx";
import { AddCredits } from "../add-credits.tsx";
import { CheckoutOutcome } from "../checkout-outcome.tsx";
import { Frozen } from "../frozen.tsx";
import { AutoTopUp } from "./auto-top-up.tsx";
import { LowBalanceMail } from "./low-balance-mail.tsx";
import { TopUpList } from "./top-up-list.tsx";

export const metadata: Metadata = { title: "Top-ups" };

export default async function TopUps({ searchParams }: { searchParams: Promise<{ quota_checkout?: string | string[] }> }) {
  const { quota_checkout } = await searchParams;
  await requireUser("/wallet/top-ups");
  return (
    <div className="mx-auto w-full max-w-[42.5rem] px-4 py-8 sm:px-6">
      <PageHeading title="Top-ups" action={<AddCredits returnTo="/wallet/top-ups" />}>
        Your receipts, and how credits are added by themselves.
      </PageHeading>
      <CheckoutOutcome outcome={quota_checkout} />
      <Frozen />
      <SectionHeading>Automatic top-ups</SectionHeading>
      <Suspense fallback={<Loading rows={3} />}>
        <Settings />
      </Suspense>
      <SectionHeading>Receipts</SectionHeading>
      <Suspense fallback={<Loading rows={3} />}>
        <Receipts />
      </Suspense>
    </div>
  );
}

async function Settings() {
  const { payments } = await caller();
  const [settings, offer] = await Promise.all([payments.settings(), payments.offer()]);
  return (
    <div className="space-y-3">
      <AutoTopUp settings={settings} offer={offer} />
      <LowBalanceMail on={settings.lowBalanceMail} />
    </div>
  );
}

async function Receipts() {
  const first = await (await caller()).payments.topUps({});
  if (first.items.length === 0) {
    return (
      <EmptyState title="No top-ups yet">
        <p>Each time credits are added, the receipt appears here.</p>
      </EmptyState>
    );
  }
  return <TopUpList first={first} />;
}
