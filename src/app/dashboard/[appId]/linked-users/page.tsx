import type { Metadata } from "next";
import Link from "next/link";
import { Suspense } from "react";
import { requireUser } from "#server/people/auth.ts";
import { appOfPage, caller } from "#server/trpc/caller.ts";
import { Button } from "#ui/button.tsx";
import { EmptyState } from "#ui/card.tsx";
import { TextField } from "#ui/field.tsx";
import { PageHeading } from "#ui/heading.tsx";
import { PeriodLinks, type PeriodName, periodWords } from "#ui/period-links.tsx";
import { Loading } from "#ui/skeleton.tsx";
import { LinkedUserTable } from "./linked-user-table.tsx";

type Props = { params: Promise<{ appId: string }>; searchParams: Promise<Record<string, string | string[] | undefined>> };

export const metadata: Metadata = { title: "Linked users" };

export default async function LinkedUsers({ params, searchParams }: Props) {
  const { appId } = await params;
  const { search: asked, period: askedPeriod } = await searchParams;
  const period = askedPeriod === "today" || askedPeriod === "7d" || askedPeriod === "90d" ? askedPeriod : "30d";
  const search = (typeof asked === "string" ? asked : "")
    .replaceAll(/\p{Cc}/gu, "")
    .trim()
    .slice(0, 255);
  const addressOf = (period: PeriodName) => {
    const query = new URLSearchParams({ ...(search === "" ? {} : { search }), ...(period === "30d" ? {} : { period }) });
    return `/dashboard/${appId}/linked-users${query.size === 0 ? "" : `?${query}`}`;
  };
  await requireUser(addressOf(period));
  const app = await appOfPage(appId);
  return (
    <>
      <PageHeading title="Linked users" action={<PeriodLinks current={period} hrefOf={addressOf} />}>
        People who let this app spend from their wallet, up to a limit they set. What they spent is of {periodWords(period)} (UTC).
      </PageHeading>
      <Suspense key={search + period} fallback={<Loading rows={10} />}>
        <Content appId={app.id} search={search} period={period} hasRedirectUri={app.redirectUris.length > 0} />
      </Suspense>
    </>
  );
}

type ContentProps = { appId: string; search: string; period: PeriodName; hasRedirectUri: boolean };

async function Content({ appId, search, period, hasRedirectUri }: ContentProps) {
  const first = await (await caller()).linkedUsers.list({ appId, search: search || undefined, period });
  const here = `/dashboard/${appId}/linked-users`;
  if (first.items.length === 0 && search === "") {
    return (
      <EmptyState
        title="Nobody has connected a wallet yet"
        action={
          <Button asChild>
            <Link href={`/dashboard/${appId}/settings`}>{hasRedirectUri ? "Check the settings" : "Add a redirect URI"}</Link>
          </Button>
        }
      >
        <p>
          A person becomes a linked user when they press Connect Wallet in your app and allow it. They return to one of your redirect URIs.
        </p>
      </EmptyState>
    );
  }
  return (
    <>
      <search>
        <form action={here} className="mb-4 flex items-end gap-3">
          {period !== "30d" && <input type="hidden" name="period" value={period} />}
          <div className="min-w-0 flex-1 sm:max-w-72">
            <TextField
              label="External user id or email"
              name="search"
              type="search"
              defaultValue={search}
              maxLength={255}
              autoComplete="off"
            />
          </div>
          <Button type="submit">Search</Button>
        </form>
      </search>
      {first.items.length === 0 ? (
        <EmptyState
          title="Nobody matches"
          action={
            <Button asChild>
              <Link href={here}>Show all linked users</Link>
            </Button>
          }
        >
          <p>
            Nobody's external user id contains <code className="font-mono [overflow-wrap:anywhere]">{search}</code>, and no email address
            that people let this app see.
          </p>
        </EmptyState>
      ) : (
        <LinkedUserTable appId={appId} search={search} period={period} first={first} />
      )}
    </>
  );
}
