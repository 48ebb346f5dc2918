import type { Metadata } from "next";
import Link from "next/link";
import { Suspense } from "react";
import { grouped } from "#money";
import { requireUser } from "#server/people/auth.ts";
import { caller } from "#server/trpc/caller.ts";
import { Card, EmptyState, Figure } from "#ui/card.tsx";
import { PageHeading, SectionHeading } from "#ui/heading.tsx";
import { Money } from "#ui/money.tsx";
import { segmentLook, segmentsLook } from "#ui/segment-look.ts";
import { Loading, Skeleton } from "#ui/skeleton.tsx";
import { Table, Td, Th, Tr } from "#ui/table.tsx";
import { AddCredits } from "../../wallet/add-credits.tsx";
import { CheckoutOutcome } from "../../wallet/checkout-outcome.tsx";
import { Frozen } from "../../wallet/frozen.tsx";
import { DeveloperStatement } from "./statement.tsx";

const shows = { everything: "Everything", requests: "Requests", funding: "Given to users" } as const;
type Show = keyof typeof shows;

export const metadata: Metadata = { title: "Developer wallet" };

export default async function DeveloperWallet({
  searchParams,
}: {
  searchParams: Promise<{ show?: string | string[]; quota_checkout?: string | string[] }>;
}) {
  const { show: asked, quota_checkout } = await searchParams;
  const show: Show = asked === "requests" || asked === "funding" ? asked : "everything";
  await requireUser(addressOf(show));
  return (
    <div className="mx-auto w-full max-w-4xl px-4 py-8 sm:px-6">
      <p className="mb-2 text-sm">
        <Link href="/dashboard" className="prose-link">
          Your apps
        </Link>
      </p>
      <CheckoutOutcome outcome={quota_checkout} />
      <Suspense>
        <Frozen />
      </Suspense>
      <PageHeading title="Developer wallet" action={<AddCredits returnTo="/dashboard/wallet" />}>
        Your own wallet. It pays for requests with developer keys that name no user, and for credits you give to linked users. Receipts and
        automatic top-ups are under{" "}
        <Link href="/wallet/top-ups" className="prose-link">
          Top-ups
        </Link>
        .
      </PageHeading>
      <Suspense
        fallback={
          <>
            <Skeleton className="mb-4 h-28" />
            <Skeleton className="h-40" />
          </>
        }
      >
        <Overview />
      </Suspense>
      <SectionHeading
        action={
          <nav aria-label="What is listed" className={segmentsLook}>
            {(Object.keys(shows) as Show[]).map((each) => (
              <Link
                key={each}
                href={addressOf(each)}
                scroll={false}
                aria-current={each === show ? "true" : undefined}
                className={segmentLook(each === show)}
              >
                {shows[each]}
              </Link>
            ))}
          </nav>
        }
      >
        Statement
      </SectionHeading>
      <Suspense key={show} fallback={<Loading rows={8} />}>
        <Statement show={show} />
      </Suspense>
    </div>
  );
}

function addressOf(show: Show): string {
  return show === "everything" ? "/dashboard/wallet" : `/dashboard/wallet?show=${show}`;
}

async function Overview() {
  const { available, held, spent, given, gifts, apps } = await (await caller()).developerWallet.overview();
  return (
    <>
      <Card>
        <dl className="grid sm:grid-cols-3 sm:divide-x sm:divide-line max-sm:[&>*:not(:first-child)]:border-t">
          <Figure
            label="Available"
            note={
              held > 0n ? (
                <>
                  and <Money credits={held} /> held by requests under way
                </>
              ) : (
                "nothing is on hold"
              )
            }
          >
            <Money credits={available} />
          </Figure>
          <Figure label="Spent by your apps" note="30 days, UTC">
            <Money credits={spent} />
          </Figure>
          <Figure label="Given to users" note={`in ${grouped(gifts)} ${gifts === 1 ? "gift" : "gifts"}, 30 days`}>
            <Money credits={given} />
          </Figure>
        </dl>
      </Card>
      {apps.length > 0 && (
        <div className="mt-4">
          <Table label="Spent by app, 30 days">
            <thead>
              <tr>
                <Th>App</Th>
                <Th numeric>Requests you paid</Th>
                <Th numeric>Spent</Th>
              </tr>
            </thead>
            <tbody>
              {apps.map((app) => (
                <Tr key={app.id}>
                  <Td className="max-w-56 truncate">
                    <Link href={`/dashboard/${app.id}/usage`} className="prose-link">
                      {app.name}
                    </Link>
                  </Td>
                  <Td numeric>{grouped(app.requests)}</Td>
                  <Td numeric>
                    <Money credits={app.spent} />
                  </Td>
                </Tr>
              ))}
            </tbody>
          </Table>
        </div>
      )}
    </>
  );
}

async function Statement({ show }: { show: Show }) {
  const first = await (await caller()).developerWallet.statement({ show });
  if (first.items.length === 0) {
    return show === "funding" ? (
      <EmptyState title="Nothing given yet">
        <p>On the page of a linked user you can give them credits from this wallet, such as to let them try your app.</p>
      </EmptyState>
    ) : (
      <EmptyState title="Nothing has moved yet">
        <p>What your apps spend with developer keys, what you give to linked users, and what comes in is listed here.</p>
      </EmptyState>
    );
  }
  return <DeveloperStatement key={show} show={show} first={first} />;
}
