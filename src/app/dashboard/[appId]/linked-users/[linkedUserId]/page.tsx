import { type inferRouterOutputs, TRPCError } from "@trpc/server";
import type { Metadata } from "next";
import Link from "next/link";
import { notFound } from "next/navigation";
import { Suspense } from "react";
import { grouped } from "#money";
import { requireUser } from "#server/people/auth.ts";
import { appOfPage, caller } from "#server/trpc/caller.ts";
import type { AppRouter } from "#server/trpc/root.ts";
import { Badge } from "#ui/badge.tsx";
import { Card, EmptyState, Fact, Facts, Figure, Figures } from "#ui/card.tsx";
import { SectionHeading } from "#ui/heading.tsx";
import { LimitBar } from "#ui/limit-bar.tsx";
import { Money } from "#ui/money.tsx";
import { percentOf } from "#ui/percent.ts";
import { Loading, Skeleton } from "#ui/skeleton.tsx";
import { Time } from "#ui/time.tsx";
import { UsageChart } from "#ui/usage-chart.tsx";
import { RequestLog } from "../../usage/request-log.tsx";
import { GiveCredits } from "./give-credits.tsx";
import { Unlink } from "./unlink.tsx";

type Props = { params: Promise<{ appId: string; linkedUserId: string }> };

export const metadata: Metadata = { title: "Linked user" };

export default async function LinkedUser({ params }: Props) {
  const { appId, linkedUserId } = await params;
  await requireUser(`/dashboard/${appId}/linked-users/${linkedUserId}`);
  const app = await appOfPage(appId);
  // Before the response begins, so that an unknown id is answered with 404.
  const user = await (await caller()).linkedUsers.get({ appId: app.id, linkedUserId }).catch((error: unknown) => {
    if (error instanceof TRPCError && error.code === "NOT_FOUND") notFound();
    throw error;
  });
  return (
    <>
      <p className="mb-2 text-sm">
        <Link href={`/dashboard/${app.id}/linked-users`} className="prose-link">
          Linked users
        </Link>
      </p>
      <Suspense
        fallback={
          <>
            <Skeleton className="mb-6 h-10 w-72 max-w-full" />
            <Skeleton className="mb-4 h-28" />
            <Skeleton className="mb-10 h-72" />
            <Loading rows={6} />
          </>
        }
      >
        <Content appId={app.id} user={user} />
      </Suspense>
    </>
  );
}

type User = inferRouterOutputs<AppRouter>["linkedUsers"]["get"];

async function Content({ appId, user }: { appId: string; user: User }) {
  const api = await caller();
  const { id: linkedUserId } = user;
  const { externalUserId } = user;
  const filters = { externalUserId, period: "30d" } as const;
  const [report, first, { available }] = await Promise.all([
    api.usage.report({ appId, ...filters }),
    api.usage.requests({ appId, externalUserId }),
    api.wallet.balance(),
  ]);
  return (
    <>
      <div className="mb-6 flex flex-wrap items-start justify-between gap-4">
        <div className="min-w-0">
          <h1 className="flex flex-wrap items-center gap-3 text-2xl font-semibold tracking-tight">
            <span className="[overflow-wrap:anywhere]">{externalUserId}</span>
            {user.pausedAt && <Badge tone="warning">Paused</Badge>}
          </h1>
          {user.email !== null && <p className="mt-1 text-soft [overflow-wrap:anywhere]">{user.email}</p>}
        </div>
        <div className="flex flex-wrap gap-2">
          <Unlink appId={appId} linkedUserId={linkedUserId} externalUserId={externalUserId} />
          <GiveCredits
            key={user.giftId}
            appId={appId}
            linkedUserId={linkedUserId}
            externalUserId={externalUserId}
            giftId={user.giftId}
            available={available}
            paused={user.pausedAt !== null}
          />
        </div>
      </div>
      <Card>
        <Figures>
          <Figure label="Requests" note="30 days">
            {grouped(user.requests)}
          </Figure>
          <Figure label="Spent here" note="30 days">
            <Money credits={user.spent} />
          </Figure>
          <Figure label="Earned by you" note="the markup of it">
            <Money credits={user.earned} />
          </Figure>
          <Figure label="Last seen" note={user.lastSeenAt === null ? "no request yet" : "last request settled"}>
            {user.lastSeenAt === null ? "Never" : <Time at={user.lastSeenAt} dateOnly />}
          </Figure>
        </Figures>
      </Card>
      <div className="mt-4 grid gap-4 lg:grid-cols-[minmax(0,1fr)_18rem]">
        <Card className="p-4 sm:p-5">
          <UsageChart steps={report.steps} show={["requests", "cost", "tokens"]} />
        </Card>
        <Card className="px-4 py-2 sm:px-5">
          <h2 className="sr-only">What they allowed</h2>
          <Facts>
            <Fact name="Left this month">
              {user.limit === null ? "no limit set" : <LimitBar {...user.limit} />}
              {user.limit !== null && user.otherIds > 0 && (
                <span className="block text-sm text-soft">
                  shared with {user.otherIds === 1 ? "another id" : `${user.otherIds} other ids`} of this person
                </span>
              )}
            </Fact>
            <Fact name="Linked">
              <Time at={user.linkedAt} dateOnly />
            </Fact>
            <Fact name="Agreed markup">up to {percentOf(user.agreedMarkupBps)} %</Fact>
            <Fact name="Models">{user.allowedModels.length === 0 ? "any" : user.allowedModels.join(", ")}</Fact>
            <Fact name="Scopes">{user.scopes.join(", ")}</Fact>
          </Facts>
        </Card>
      </div>
      <SectionHeading
        action={
          <Link
            href={`/dashboard/${appId}/usage?${new URLSearchParams({ external_user_id: externalUserId })}`}
            className="prose-link text-sm"
          >
            Open in Usage
          </Link>
        }
      >
        Requests
      </SectionHeading>
      {first.items.length === 0 ? (
        <EmptyState title="No requests yet">
          <p>
            Send <code className="font-mono [overflow-wrap:anywhere]">X-Quota-User: {externalUserId}</code> with a request, and this
            person's wallet pays for it.
          </p>
        </EmptyState>
      ) : (
        <RequestLog appId={appId} first={first} filters={{ externalUserId }} ofOneUser />
      )}
    </>
  );
}
