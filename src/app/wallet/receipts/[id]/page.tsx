import type { Metadata } from "next";
import Link from "next/link";
import { notFound } from "next/navigation";
import { inCredits } from "#money";
import { receipt } from "#server/payments/history.ts";
import { requireUser } from "#server/people/auth.ts";
import { Card, Fact, Facts } from "#ui/card.tsx";
import { CopyBox } from "#ui/copy-box.tsx";
import { PageHeading } from "#ui/heading.tsx";
import { Money } from "#ui/money.tsx";
import { Time } from "#ui/time.tsx";

export const metadata: Metadata = { title: "Receipt" };

/** The receipt of one top-up, laid out for printing. */
export default async function Receipt({ params }: { params: Promise<{ id: string }> }) {
  const { id } = await params;
  const user = await requireUser(`/wallet/receipts/${encodeURIComponent(id)}`);
  const topUp = await receipt(user.walletId, id);
  if (topUp === null || topUp.paidAt === null) notFound();
  const sandbox = topUp.provider === "sandbox";
  return (
    <div className="mx-auto w-full max-w-[42.5rem] px-4 py-8 sm:px-6">
      <PageHeading title="Receipt">
        {topUp.automatic ? "Credits that were added automatically." : "Credits that you added."}{" "}
        {sandbox && "This was the sandbox checkout: no money moved."}
      </PageHeading>
      <Card className="p-4 sm:p-6">
        <p className="mb-4 text-4xl font-semibold tracking-tight">
          <Money credits={topUp.amount} />
        </p>
        <Facts>
          <Fact name="Paid">{sandbox ? "Nothing" : `$${(topUp.cents / 100).toFixed(2)}`}</Fact>
          <Fact name="Credits">{inCredits(topUp.amount)}</Fact>
          <Fact name="When">
            <Time at={topUp.paidAt} exact />
          </Fact>
          <Fact name="Wallet">{user.email}</Fact>
          <Fact name="With">{sandbox ? "Sandbox checkout" : (topUp.method ?? "Stripe")}</Fact>
          {topUp.reversals.map((each) => (
            <Fact key={each.id} name={each.kind === "refund" ? "Refunded" : "Disputed"}>
              <Money credits={each.amount} />
            </Fact>
          ))}
        </Facts>
        <div className="mt-5">
          <CopyBox label="Receipt number" text={topUp.id} />
        </div>
        <p className="mt-5 flex flex-wrap gap-x-6 gap-y-2 text-sm print:hidden">
          <Link href="/wallet/top-ups" className="prose-link">
            All top-ups
          </Link>
          {topUp.receiptUrl !== null && (
            <a href={topUp.receiptUrl} className="prose-link" rel="noreferrer" target="_blank">
              Stripe’s own receipt
            </a>
          )}
        </p>
      </Card>
    </div>
  );
}
