import type { Metadata } from "next";
import { Suspense } from "react";
import { requireUser } from "#server/people/auth.ts";
import { isUuid } from "#server/platform/ids.ts";
import { caller } from "#server/trpc/caller.ts";
import { EmptyState } from "#ui/card.tsx";
import { SectionHeading } from "#ui/heading.tsx";
import { KeepFocus } from "#ui/keep-focus.tsx";
import { Money } from "#ui/money.tsx";
import { Loading, Skeleton } from "#ui/skeleton.tsx";
import { Activity } from "./activity.tsx";
import { AddCredits } from "./add-credits.tsx";
import { CheckoutOutcome } from "./checkout-outcome.tsx";
import { ConnectedApp } from "./connected-app.tsx";
import { Frozen } from "./frozen.tsx";
import { StatementTools } from "./statement-tools.tsx";

export const metadata: Metadata = { title: "Wallet" };

export default async function Wallet({
  searchParams,
}: {
  searchParams: Promise<{ app?: string | string[]; quota_checkout?: string | string[] }>;
}) {
  const { app, quota_checkout } = await searchParams;
  const appId = typeof app === "string" && isUuid(app) ? app : null;
  await requireUser(appId === null ? "/wallet" : `/wallet?app=${appId}`);
  return (
    <div className="mx-auto w-full max-w-[42.5rem] px-4 py-8 sm:px-6">
      <CheckoutOutcome outcome={quota_checkout} />
      <Suspense>
        <Frozen />
      </Suspense>
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
        <Statement appId={appId} />
      </Suspense>
    </div>
  );
}

async function Balance() {
  const { available, held } = await (await caller()).wallet.balance();
  return (
    <>
      <div className="mt-1 flex flex-wrap items-center justify-between gap-x-6 gap-y-3">
        <p className="text-5xl font-semibold tracking-tight">
          <Money credits={available} />
        </p>
        <AddCredits returnTo="/wallet" />
      </div>
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
  return (
    <KeepFocus>
      {apps.length === 0 ? (
        <EmptyState title="No app is connected">
          <p>
            A wallet pays for what you do in AI apps, so that each of them needs no subscription of its own. To connect one, choose Connect
            Wallet in an app that takes Quota; it can spend only as much as you allow.
          </p>
        </EmptyState>
      ) : (
        <ul className="space-y-3">
          {apps.map((link) => (
            <li key={link.id}>
              <ConnectedApp link={link} />
            </li>
          ))}
        </ul>
      )}
    </KeepFocus>
  );
}

async function Statement({ appId }: { appId: string | null }) {
  const { wallet } = await caller();
  const [first, apps] = await Promise.all([wallet.statement({ appId }), wallet.appsPaid()]);
  if (first.items.length === 0 && appId === null) {
    return (
      <EmptyState title="Nothing has moved yet">
        <p>Every request that an app bills to this wallet, and every credit that comes in, is listed here with its receipt.</p>
      </EmptyState>
    );
  }
  return (
    <>
      <StatementTools apps={apps} appId={appId} />
      {first.items.length === 0 ? (
        <EmptyState title="Nothing from this app">
          <p>It has billed nothing to this wallet.</p>
        </EmptyState>
      ) : (
        <Activity key={appId} first={first} appId={appId} />
      )}
    </>
  );
}
