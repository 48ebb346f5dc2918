import type { Metadata } from "next";
import Link from "next/link";
import { Suspense } from "react";
import { requireUser } from "#server/auth.ts";
import { appOfPage, caller } from "#server/trpc/caller.ts";
import { Button } from "#ui/button.tsx";
import { EmptyState } from "#ui/card.tsx";
import { TextField } from "#ui/field.tsx";
import { PageHeading } from "#ui/heading.tsx";
import { Loading } from "#ui/skeleton.tsx";
import { LinkedUserTable } from "./linked-user-table.tsx";

type Props = { params: Promise<{ appId: string }>; searchParams: Promise<{ search?: string | string[] }> };

export const metadata: Metadata = { title: "Linked users" };

export default async function LinkedUsers({ params, searchParams }: Props) {
  const { appId } = await params;
  const { search: asked } = await searchParams;
  const search = (typeof asked === "string" ? asked : "")
    .replaceAll(/\p{Cc}/gu, "")
    .trim()
    .slice(0, 255);
  await requireUser(`/dashboard/${appId}/linked-users${search === "" ? "" : `?${new URLSearchParams({ search })}`}`);
  const app = await appOfPage(appId);
  return (
    <>
      <PageHeading title="Linked users">People who let this app spend from their wallet, up to a limit they set.</PageHeading>
      <Suspense key={search} fallback={<Loading rows={10} />}>
        <Content appId={app.id} search={search} hasRedirectUri={app.redirectUris.length > 0} />
      </Suspense>
    </>
  );
}

async function Content({ appId, search, hasRedirectUri }: { appId: string; search: string; hasRedirectUri: boolean }) {
  const first = await (await caller()).linkedUsers.list({ appId, externalUserId: search || undefined });
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
          <div className="min-w-0 flex-1 sm:max-w-72">
            <TextField
              label="Search by external user id"
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
            No external user id contains <code className="font-mono [overflow-wrap:anywhere]">{search}</code>.
          </p>
        </EmptyState>
      ) : (
        <LinkedUserTable appId={appId} search={search} first={first} />
      )}
    </>
  );
}
