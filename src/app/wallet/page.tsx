import type { Metadata } from "next";
import { Suspense } from "react";
import { requireUser } from "#server/auth.ts";
import { caller } from "#server/trpc/caller.ts";
import { dollars, exactly } from "#ui/amounts.ts";
import { AppTile } from "#ui/app-tile.tsx";
import { Badge } from "#ui/badge.tsx";
import { Card, EmptyState } from "#ui/card.tsx";
import { classes } from "#ui/classes.ts";
import { SectionHeading } from "#ui/heading.tsx";
import { Money } from "#ui/money.tsx";
import { Loading, Skeleton } from "#ui/skeleton.tsx";
import { Time } from "#ui/time.tsx";
import { Activity } from "./activity.tsx";

export const metadata: Metadata = { title: "Wallet" };

export default async function Wallet() {
  await requireUser("/wallet");
  return (
    <div className="mx-auto w-full max-w-[42.5rem] px-4 py-8 sm:px-6">
      <h1 className="text-sm font-medium text-soft">Your balance</h1>
      <Suspense fallback={<Skeleton className="mt-2 h-12 w-44" />}>
        <Balance />
      </Suspense>
      <SectionHeading>Connected apps</SectionHeading>
      <Suspense fallback={<Loading rows={2} />}>
        <ConnectedApps />
      </Suspense>
      <SectionHeading>Activity</SectionHeading>
      <Suspense fallback={<Loading rows={6} />}>
        <Statement />
      </Suspense>
    </div>
  );
}

async function Balance() {
  const { available, held } = await (await caller()).wallet.balance();
  return (
    <>
      <p className="mt-1 text-5xl font-semibold tracking-tight">
        <Money credits={available} />
      </p>
      {held > 0n && (
        <p className="mt-2 text-sm text-soft">
          <Money credits={held} /> more is reserved by requests under way. What they do not use comes back.
        </p>
      )}
    </>
  );
}

async function ConnectedApps() {
  const apps = await (await caller()).wallet.connectedApps();
  if (apps.length === 0) {
    return (
      <EmptyState title="No app is connected">
        <p>
          A wallet pays for what you do in AI apps, so that each of them needs no subscription of its own. To connect one, choose Connect
          Wallet in an app that takes Quota; it can spend only as much as you allow.
        </p>
      </EmptyState>
    );
  }
  return (
    <ul className="space-y-3">
      {apps.map((link) => (
        <li key={link.id}>
          <Card className="p-4 sm:p-5">
            <div className="flex items-center gap-4">
              <AppTile name={link.app.name} logoUrl={link.app.logoUrl} />
              <div className="min-w-0 flex-1">
                <h3 className="flex items-center gap-2 font-medium">
                  <span className="line-clamp-2 [overflow-wrap:anywhere]">{link.app.name}</span>
                  {link.pausedAt && <Badge tone="warning">Paused</Badge>}
                </h3>
                <p className="truncate text-sm leading-5 text-soft max-sm:hidden">
                  {link.app.siteUrl && (
                    <>
                      <a href={link.app.siteUrl} className="underline-offset-4 hover:underline" rel="noreferrer">
                        {new URL(link.app.siteUrl).host}
                      </a>
                      {" · "}
                    </>
                  )}
                  connected <Time at={link.linkedAt} dateOnly />
                </p>
              </div>
              <div className="shrink-0 text-right text-sm leading-5">
                <Money credits={link.spent} className="block text-base font-semibold" />
                <span className="text-soft">{link.limit === null ? "this month, no limit" : `of ${dollars(link.limit)} this month`}</span>
              </div>
            </div>
            {link.limit !== null && <LimitBar spent={link.spent} limit={link.limit} />}
          </Card>
        </li>
      ))}
    </ul>
  );
}

/** Draws what stands in words beside it. */
function LimitBar({ spent, limit }: { spent: bigint; limit: bigint }) {
  const percent = limit === 0n ? 100 : Math.min(100, Number((spent * 100n) / limit));
  return (
    <div aria-hidden="true" title={`${exactly(spent)} of ${exactly(limit)}`} className="mt-4 h-1.5 overflow-hidden rounded-full bg-sunken">
      <div
        className={classes("h-full rounded-full bg-accent", percent >= 100 && "bg-warning")}
        style={{ width: `${spent > 0n ? Math.max(percent, 1) : 0}%` }}
      />
    </div>
  );
}

async function Statement() {
  const first = await (await caller()).wallet.statement({});
  if (first.items.length === 0) {
    return (
      <EmptyState title="Nothing has moved yet">
        <p>Every request that an app bills to this wallet, and every credit that comes in, is listed here with its receipt.</p>
      </EmptyState>
    );
  }
  return <Activity first={first} />;
}
