import type { Metadata } from "next";
import Link from "next/link";
import { Suspense } from "react";
import { grouped } from "#money";
import { requireUser } from "#server/people/auth.ts";
import { appOfPage, caller } from "#server/trpc/caller.ts";
import { Button } from "#ui/button.tsx";
import { Card, EmptyState, Figure } from "#ui/card.tsx";
import { PageHeading } from "#ui/heading.tsx";
import { Money } from "#ui/money.tsx";
import { percentOf } from "#ui/percent.ts";
import { PeriodLinks, type PeriodName, periodWords } from "#ui/period-links.tsx";
import { Skeleton } from "#ui/skeleton.tsx";
import { Table, Td, Th, Tr } from "#ui/table.tsx";
import { UsageChart } from "#ui/usage-chart.tsx";

type Props = { params: Promise<{ appId: string }>; searchParams: Promise<{ period?: string | string[] }> };

export const metadata: Metadata = { title: "Earnings" };

export default async function Earnings({ params, searchParams }: Props) {
  const { appId } = await params;
  const { period: asked } = await searchParams;
  const period: PeriodName = asked === "today" || asked === "7d" || asked === "90d" ? asked : "30d";
  const here = (period: PeriodName) => `/dashboard/${appId}/earnings${period === "30d" ? "" : `?period=${period}`}`;
  await requireUser(here(period));
  const app = await appOfPage(appId);
  return (
    <>
      <PageHeading title="Earnings" action={<PeriodLinks current={period} hrefOf={here} />}>
        Your markup is {percentOf(app.markupBps)} % of the price of each request. It becomes yours in the moment in which the request is
        settled.
      </PageHeading>
      <Suspense
        key={period}
        fallback={
          <>
            <Skeleton className="mb-4 h-28" />
            <Skeleton className="h-80" />
          </>
        }
      >
        <Content appId={app.id} period={period} markupBps={app.markupBps} />
      </Suspense>
    </>
  );
}

async function Content({ appId, period, markupBps }: { appId: string; period: PeriodName; markupBps: number }) {
  const { earnings } = await caller();
  const [balance, report] = await Promise.all([earnings.balance({ appId }), earnings.report({ appId, period })]);
  const { totals } = report;
  const home = `/dashboard/${appId}`;
  if (balance.available === 0n && totals.requests === 0 && markupBps === 0) {
    return (
      <EmptyState
        title="No markup, no earnings"
        action={
          <Button asChild>
            <Link href={`${home}/settings`}>Set a markup</Link>
          </Button>
        }
      >
        <p>Linked users pay the price of the model and your markup on top of it. At present the markup is nothing.</p>
      </EmptyState>
    );
  }
  return (
    <>
      <Card>
        <dl className="grid lg:grid-cols-3 lg:divide-x lg:divide-line max-lg:[&>*:not(:first-child)]:border-t">
          <Figure label="Available" note="on this app's account in the ledger">
            <Money credits={balance.available} />
          </Figure>
          <Figure
            label="Pending"
            note={
              balance.pendingRequests === 0
                ? "no request is under way"
                : `at most, from ${grouped(balance.pendingRequests)} ${balance.pendingRequests === 1 ? "request" : "requests"} under way`
            }
          >
            <Money credits={balance.pending} />
          </Figure>
          <Figure
            label={`Earned, ${periodWords(period)}`}
            note={`in ${grouped(totals.requests)} billed ${totals.requests === 1 ? "request" : "requests"}, UTC`}
          >
            <Money credits={totals.markup} />
          </Figure>
        </dl>
      </Card>
      <p className="mt-2 max-w-3xl text-sm text-soft">
        Nothing waits between a request and your account: what is pending is only what requests under way have on hold. Earnings stay on the
        account; Quota does not pay them out yet.
      </p>
      <Card className="mt-6 p-4 sm:p-5">
        <UsageChart steps={report.steps} show={["earnings", "requests"]} tall />
      </Card>
      <div className="mt-6 grid grid-cols-1 gap-6 lg:grid-cols-2">
        <Best
          title="By model"
          head="Model"
          groups={report.models}
          none=""
          hrefOf={(group) => `${home}/usage?${new URLSearchParams({ model: group })}`}
        />
        <Best
          title="By user"
          head="External user id"
          groups={report.users}
          none="No user: paid by you"
          hrefOf={(group) => `${home}/usage?${new URLSearchParams({ external_user_id: group })}`}
        />
      </div>
    </>
  );
}

type Group = { group: string | null; requests: number; base: bigint; markup: bigint };
type BestProps = { title: string; head: string; groups: Group[]; none: string; hrefOf: (group: string) => string };

function Best({ title, head, groups, none, hrefOf }: BestProps) {
  if (groups.length === 0) return null;
  return (
    <section>
      <h2 className="mb-3 text-lg font-semibold tracking-tight">{title}</h2>
      <Table label={`Earnings ${title.toLowerCase()}`}>
        <thead>
          <tr>
            <Th>{head}</Th>
            <Th numeric>Requests</Th>
            <Th numeric>Earned</Th>
          </tr>
        </thead>
        <tbody>
          {groups.map(({ group, requests, markup }) => (
            <Tr key={group}>
              <Td className="max-w-28 truncate sm:max-w-44">
                {group === null ? (
                  <span className="text-soft">{none}</span>
                ) : (
                  <Link href={hrefOf(group)} title={group} className="prose-link font-mono text-[0.8125rem]">
                    {group}
                  </Link>
                )}
              </Td>
              <Td numeric>{grouped(requests)}</Td>
              <Td numeric>
                <Money credits={markup} />
              </Td>
            </Tr>
          ))}
        </tbody>
      </Table>
    </section>
  );
}
