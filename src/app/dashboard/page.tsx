import type { Metadata } from "next";
import Link from "next/link";
import { Suspense } from "react";
import { grouped } from "#money";
import { requireUser } from "#server/people/auth.ts";
import { caller } from "#server/trpc/caller.ts";
import { AppTile } from "#ui/app-tile.tsx";
import { EmptyState } from "#ui/card.tsx";
import { PageHeading } from "#ui/heading.tsx";
import { Loading } from "#ui/skeleton.tsx";
import { Time } from "#ui/time.tsx";
import { NewAppButton } from "./new-app.tsx";

export const metadata: Metadata = { title: "Your apps" };

export default async function Dashboard() {
  await requireUser("/dashboard");
  return (
    <div className="mx-auto w-full max-w-4xl px-4 py-8 sm:px-6">
      <Suspense
        fallback={
          <>
            <PageHeading title="Your apps" />
            <Loading rows={4} />
          </>
        }
      >
        <Apps />
      </Suspense>
    </div>
  );
}

async function Apps() {
  const apps = await (await caller()).apps.list();
  if (apps.length === 0) {
    return (
      <>
        <PageHeading title="Your apps" />
        <EmptyState title="Register your first app" action={<NewAppButton kind="primary" />}>
          <p>An app is what people connect their wallet to. It has API keys for your server, and a client id for Connect Wallet.</p>
        </EmptyState>
      </>
    );
  }
  return (
    <>
      <PageHeading title="Your apps" action={<NewAppButton kind="primary" />}>
        What people connect their wallet to. Requests that name no linked user are paid from your{" "}
        <Link href="/dashboard/wallet" className="prose-link">
          developer wallet
        </Link>
        .
      </PageHeading>
      <ul className="divide-y divide-line overflow-hidden rounded-lg border border-line bg-surface">
        {apps.map((app) => (
          <li key={app.id}>
            <Link href={`/dashboard/${app.id}`} className="flex items-center gap-4 px-4 py-3.5 -outline-offset-2 hover:bg-sunken sm:px-5">
              <AppTile name={app.name} logoUrl={app.logoUrl} />
              <span className="min-w-0 flex-1">
                <span className="block truncate font-medium">{app.name}</span>
                <span className="block truncate text-sm leading-5 text-soft">
                  {app.siteUrl === null ? "No site yet" : new URL(app.siteUrl).host}
                </span>
              </span>
              <span className="shrink-0 text-right text-sm leading-5 text-soft">
                <span className="block tabular-nums">
                  {grouped(app._count.linkedUsers)} linked {app._count.linkedUsers === 1 ? "user" : "users"}
                </span>
                <span className="block">
                  since <Time at={app.createdAt} dateOnly />
                </span>
              </span>
            </Link>
          </li>
        ))}
      </ul>
    </>
  );
}
