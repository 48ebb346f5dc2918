import type { Metadata } from "next";
import { publicUrl } from "#env";
import { requireUser } from "#server/people/auth.ts";
import { callbackPath } from "#server/people/callback-path.ts";
import { caller } from "#server/trpc/caller.ts";
import { Card } from "#ui/card.tsx";
import { PageHeading } from "#ui/heading.tsx";
import { Money } from "#ui/money.tsx";
import { AddCreditsHere } from "../add-credits.tsx";
import { Frozen } from "../frozen.tsx";

export const metadata: Metadata = { title: "Add credits" };

/** For users who come from another page, such as a consent page with an empty wallet, and return to it. */
export default async function Add({ searchParams }: { searchParams: Promise<{ returnTo?: string | string[] }> }) {
  const returnTo = callbackPath((await searchParams).returnTo, publicUrl(), "/wallet");
  await requireUser(`/wallet/add?returnTo=${encodeURIComponent(returnTo)}`);
  const { available } = await (await caller()).wallet.balance();
  return (
    <div className="mx-auto w-full max-w-[42.5rem] px-4 py-8 sm:px-6">
      <PageHeading title="Add credits">
        Your wallet has <Money credits={available} className="font-medium text-ink" />.
      </PageHeading>
      <Frozen />
      <Card className="max-w-md p-4 sm:p-6">
        <AddCreditsHere returnTo={returnTo} />
      </Card>
    </div>
  );
}
