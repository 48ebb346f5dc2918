import type { Metadata } from "next";
import Link from "next/link";
import { Suspense } from "react";
import { publicUrl } from "#env";
import { requireUser } from "#server/auth.ts";
import { appOfPage, caller } from "#server/trpc/caller.ts";
import { grouped } from "#ui/amounts.ts";
import { BarChart } from "#ui/bar-chart.tsx";
import { Button } from "#ui/button.tsx";
import { Card, EmptyState, Figure } from "#ui/card.tsx";
import { Curl } from "#ui/curl.tsx";
import { PageHeading, SectionHeading } from "#ui/heading.tsx";
import { Money } from "#ui/money.tsx";
import { Loading } from "#ui/skeleton.tsx";
import { Time } from "#ui/time.tsx";
import { RequestTable } from "./usage/request-table.tsx";

type Props = { params: Promise<{ appId: string }> };

export async function generateMetadata(): Promise<Metadata> {
  return { title: "Overview" };
}

export default async function Overview({ params }: Props) {
  const { appId } = await params;
  await requireUser(`/dashboard/${appId}`);
  const app = await appOfPage(appId);
  return (
    <>
      <PageHeading title={app.name} />
      <Suspense fallback={<Loading figures={4} />}>
        <Content appId={app.id} />
      </Suspense>
    </>
  );
}

async function Content({ appId }: { appId: string }) {
  const api = await caller();
  const [overview, recent] = await Promise.all([api.usage.overview({ appId }), api.usage.requests({ appId, take: 8 })]);
  const { totals, hour, days, linkedUsers } = overview;
  const home = `/dashboard/${appId}`;
  const neverUsed = recent.items.length === 0;
  return (
    <>
      <Health hour={hour} />
      <Card>
        <dl className="grid grid-cols-2 divide-line max-lg:[&>*:nth-child(even)]:border-l max-lg:[&>*:nth-child(n+3)]:border-t lg:grid-cols-4 lg:divide-x">
          <Figure
            label="Requests"
            note={
              totals.failed > 0 ? `${grouped(totals.failed)} failed` : `${grouped(totals.promptTokens + totals.completionTokens)} tokens`
            }
          >
            {grouped(totals.requests)}
          </Figure>
          <Figure
            label="Linked users"
            note={
              <Link className="prose-link" href={`${home}/linked-users`}>
                See who
              </Link>
            }
          >
            {grouped(linkedUsers)}
          </Figure>
          <Figure label="Spent by payers" note="price and markup">
            <Money credits={totals.spent} />
          </Figure>
          <Figure label="Earned by you" note="the markup">
            <Money credits={totals.earned} />
          </Figure>
        </dl>
      </Card>
      <p className="mt-2 text-sm text-soft">
        Last 30 days, UTC.
        {totals.sandboxRequests > 0 &&
          ` Without ${grouped(totals.sandboxRequests)} sandbox ${totals.sandboxRequests === 1 ? "request" : "requests"}.`}
      </p>
      {neverUsed ? (
        <div className="mt-8">
          <EmptyState
            title="No requests yet"
            action={
              <Button asChild kind="primary">
                <Link href={`${home}/api-keys`}>Make an API key</Link>
              </Button>
            }
          >
            <p>Make a key, then send the first request from your server:</p>
          </EmptyState>
          <div className="mt-4">
            <Curl origin={publicUrl()} />
          </div>
        </div>
      ) : (
        <>
          <SectionHeading>Spend by day</SectionHeading>
          <Card className="p-4 sm:p-5">
            <BarChart days={days} />
          </Card>
          <SectionHeading
            action={
              <Link href={`${home}/usage`} className="prose-link text-sm">
                All requests
              </Link>
            }
          >
            Recent requests
          </SectionHeading>
          <RequestTable items={recent.items} />
        </>
      )}
    </>
  );
}

function Health({
  hour,
}: {
  hour: {
    requests: number;
    failed: number;
    lastFailure: { at: Date; model: string; upstreamStatus: number | null; outcome: "failed" | "swept" } | null;
  };
}) {
  if (hour.requests === 0) return null;
  const { failed, requests, lastFailure } = hour;
  return (
    <p className="mb-4 flex flex-wrap items-baseline gap-x-2 text-sm">
      <span aria-hidden="true" className={failed === 0 ? "size-2 rounded-full bg-accent" : "size-2 rounded-full bg-danger"} />
      {failed === 0
        ? `Working: ${grouped(requests)} ${requests === 1 ? "request" : "requests"} in the last hour, none failed.`
        : `${grouped(failed)} of ${grouped(requests)} requests failed in the last hour.`}
      {lastFailure && (
        <span className="text-soft">
          The last one: <code className="font-mono">{lastFailure.model}</code> at <Time at={lastFailure.at} />,{" "}
          {lastFailure.outcome === "swept"
            ? "when this server stopped."
            : lastFailure.upstreamStatus === null
              ? "the provider did not answer."
              : `the provider answered ${lastFailure.upstreamStatus}.`}
        </span>
      )}
    </p>
  );
}
