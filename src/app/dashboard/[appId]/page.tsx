import type { inferRouterOutputs } from "@trpc/server";
import type { Metadata } from "next";
import Link from "next/link";
import { type ReactNode, Suspense } from "react";
import { grouped } from "#money";
import { currentUser, requireUser } from "#server/people/auth.ts";
import { requestIdOf } from "#server/platform/ids.ts";
import { appOfPage, caller } from "#server/trpc/caller.ts";
import type { AppRouter } from "#server/trpc/root.ts";
import { Button } from "#ui/button.tsx";
import { Card, EmptyState } from "#ui/card.tsx";
import { PageHeading, SectionHeading } from "#ui/heading.tsx";
import { Money } from "#ui/money.tsx";
import { Loading, Skeleton } from "#ui/skeleton.tsx";
import { Time } from "#ui/time.tsx";
import { UsageChart } from "#ui/usage-chart.tsx";
import { RequestTable } from "./usage/request-table.tsx";

type Props = { params: Promise<{ appId: string }> };

export async function generateMetadata({ params }: Props): Promise<Metadata> {
  const app = (await currentUser()) === null ? null : await appOfPage((await params).appId).catch(() => null);
  // The layout's template applies only to pages below this one.
  return app === null ? {} : { title: { absolute: `Overview · ${app.name} · Quota` } };
}

export default async function Overview({ params }: Props) {
  const { appId } = await params;
  await requireUser(`/dashboard/${appId}`);
  const app = await appOfPage(appId);
  return (
    <>
      <PageHeading title={app.name} />
      <Suspense fallback={<LoadingOverview />}>
        <Content appId={app.id} />
      </Suspense>
    </>
  );
}

function LoadingOverview() {
  return (
    <>
      <div className="mb-4 grid grid-cols-1 gap-4 md:grid-cols-3">
        <Skeleton className="h-32" />
        <Skeleton className="h-32" />
        <Skeleton className="h-32" />
      </div>
      <Skeleton className="mb-10 h-80" />
      <Loading rows={6} />
    </>
  );
}

async function Content({ appId }: { appId: string }) {
  const api = await caller();
  const [overview, recent] = await Promise.all([api.usage.overview({ appId }), api.usage.requests({ appId, take: 8 })]);
  const { totals, health, steps, links, sandboxRequests } = overview;
  const home = `/dashboard/${appId}`;
  const neverUsed = recent.items.length === 0;
  return (
    <>
      <div className="grid grid-cols-1 gap-4 md:grid-cols-3">
        <Question title="Is it working" note="The last hour">
          <Working health={health} home={home} />
        </Question>
        <Question title="Who uses it" note="Linked users, 30 days">
          <p className="text-2xl font-semibold tracking-tight tabular-nums">
            <Link href={`${home}/linked-users`} className="hover:underline">
              {grouped(links.now)} <span className="text-base font-normal text-soft">linked {links.now === 1 ? "user" : "users"}</span>
            </Link>
          </p>
          <p className="mt-1 text-sm text-soft">
            <span className={links.new > 0 ? "font-medium text-accent" : undefined}>{grouped(links.new)} new</span>
            {", "}
            <span className={links.lost > 0 ? "font-medium text-warning" : undefined}>{grouped(links.lost)} lost</span>
          </p>
        </Question>
        <Question title="What comes in" note="30 days, UTC">
          <p className="text-2xl font-semibold tracking-tight tabular-nums">
            <Link href={`${home}/earnings`} className="hover:underline">
              <Money credits={totals.markup} /> <span className="text-base font-normal text-soft">earned</span>
            </Link>
          </p>
          <p className="mt-1 text-sm text-soft">
            of <Money credits={totals.base + totals.markup} /> spent in {grouped(totals.requests)}{" "}
            {totals.requests === 1 ? "request" : "requests"}
          </p>
        </Question>
      </div>
      {neverUsed ? (
        <div className="mt-8">
          <EmptyState
            title="No requests yet"
            action={
              <Button asChild kind="primary">
                <Link href={`${home}/get-started`}>Get started</Link>
              </Button>
            }
          >
            <p>Make a key and send the first request from your server. It takes about a minute.</p>
          </EmptyState>
        </div>
      ) : (
        <>
          <Card className="mt-4 p-4 sm:p-5">
            <UsageChart steps={steps} show={["cost", "earnings", "requests", "tokens"]} />
          </Card>
          {sandboxRequests > 0 && (
            <p className="mt-2 text-sm text-soft">
              Without {grouped(sandboxRequests)} sandbox {sandboxRequests === 1 ? "request" : "requests"}.
            </p>
          )}
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

function Question({ title, note, children }: { title: string; note: string; children: ReactNode }) {
  return (
    <Card className="p-4 sm:p-5">
      <h2 className="mb-2 flex items-baseline justify-between gap-3 font-medium">
        {title}
        <span className="text-sm font-normal text-soft">{note}</span>
      </h2>
      {children}
    </Card>
  );
}

type Health = inferRouterOutputs<AppRouter>["usage"]["overview"]["health"];

function Working({ health, home }: { health: Health; home: string }) {
  const { failed, requests, lastFailure } = health;
  const share = requests === 0 ? 0 : (failed / requests) * 100;
  return (
    <>
      <p className="flex flex-wrap items-baseline gap-x-2 text-2xl font-semibold tracking-tight tabular-nums">
        {grouped(requests)} <span className="text-base font-normal text-soft">{requests === 1 ? "request" : "requests"}</span>
        {requests > 0 && (
          <span className="ml-auto flex items-center gap-2 text-sm font-medium tracking-normal">
            <span aria-hidden="true" className={failed === 0 ? "size-2 rounded-full bg-accent" : "size-2 rounded-full bg-danger"} />
            {failed === 0 ? "none failed" : `${percent(share)} failed`}
          </span>
        )}
      </p>
      <p className="mt-1 text-sm text-soft">
        {lastFailure === null ? (
          "No failure in 30 days."
        ) : (
          <>
            Last failure{" "}
            <Link href={`${home}/usage?request_id=${requestIdOf(lastFailure.id)}`} className="prose-link">
              <Time at={lastFailure.at} />
            </Link>
            : {reasonOf(lastFailure)}
          </>
        )}
      </p>
    </>
  );
}

function percent(share: number): string {
  return share < 0.1 ? "<0.1 %" : `${share < 10 ? share.toFixed(1) : Math.round(share)} %`;
}

function reasonOf({ outcome, provider, upstreamStatus, model }: NonNullable<Health["lastFailure"]>): string {
  if (outcome === "swept") return `the server stopped in the middle of it (${model}).`;
  if (upstreamStatus !== null && upstreamStatus >= 400) return `${provider ?? "the provider"} answered ${upstreamStatus} (${model}).`;
  if (upstreamStatus !== null) return `${provider ?? "the provider"} broke off its answer (${model}).`;
  return `${provider ?? "the provider"} did not answer (${model}).`;
}
