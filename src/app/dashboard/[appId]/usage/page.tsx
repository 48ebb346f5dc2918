import type { Metadata } from "next";
import Link from "next/link";
import { Suspense } from "react";
import { requireUser } from "#server/auth.ts";
import { appOfPage, caller } from "#server/trpc/caller.ts";
import { Button } from "#ui/button.tsx";
import { EmptyState } from "#ui/card.tsx";
import { SelectField, TextField } from "#ui/field.tsx";
import { PageHeading } from "#ui/heading.tsx";
import { Loading } from "#ui/skeleton.tsx";
import { RequestLog } from "./request-log.tsx";

type Filters = { model?: string | undefined; externalUserId?: string | undefined };
type Props = { params: Promise<{ appId: string }>; searchParams: Promise<Record<string, string | string[] | undefined>> };

export const metadata: Metadata = { title: "Usage" };

export default async function Usage({ params, searchParams }: Props) {
  const { appId } = await params;
  const asked = await searchParams;
  const filters: Filters = { model: text(asked.model), externalUserId: text(asked.external_user_id) };
  const query = new URLSearchParams(
    Object.entries({ model: filters.model ?? "", external_user_id: filters.externalUserId ?? "" }).filter(([, value]) => value !== ""),
  );
  await requireUser(`/dashboard/${appId}/usage${query.size > 0 ? `?${query}` : ""}`);
  const app = await appOfPage(appId);
  return (
    <>
      <PageHeading title="Usage">Every request of this app, newest first.</PageHeading>
      <Suspense key={query.toString()} fallback={<Loading rows={10} />}>
        <Content appId={app.id} filters={filters} />
      </Suspense>
    </>
  );
}

async function Content({ appId, filters }: { appId: string; filters: Filters }) {
  const api = await caller();
  const [first, used] = await Promise.all([api.usage.requests({ appId, ...filters }), api.usage.models({ appId })]);
  const filtered = filters.model !== undefined || filters.externalUserId !== undefined;
  const models = filters.model === undefined || used.includes(filters.model) ? used : [filters.model, ...used];
  const here = `/dashboard/${appId}/usage`;
  if (first.items.length === 0 && !filtered) {
    return (
      <EmptyState
        title="No requests yet"
        action={
          <Button asChild kind="primary">
            <Link href={`/dashboard/${appId}/api-keys`}>Make an API key</Link>
          </Button>
        }
      >
        <p>Every request that your server sends with one of this app's keys is listed here, with what it cost and who paid.</p>
      </EmptyState>
    );
  }
  return (
    <>
      <form action={here} className="mb-4 grid items-end gap-3 sm:grid-cols-[minmax(0,16rem)_minmax(0,16rem)_auto]">
        <SelectField label="Model" name="model" defaultValue={filters.model ?? ""}>
          <option value="">All models</option>
          {models.map((model) => (
            <option key={model}>{model}</option>
          ))}
        </SelectField>
        <TextField
          label="External user id"
          name="external_user_id"
          defaultValue={filters.externalUserId}
          maxLength={255}
          autoComplete="off"
          placeholder="user_123"
        />
        <div className="flex gap-2">
          <Button type="submit">Filter</Button>
          {filtered && (
            <Button asChild kind="quiet">
              <Link href={here}>Clear</Link>
            </Button>
          )}
        </div>
      </form>
      {first.items.length === 0 ? (
        <EmptyState
          title="No request matches"
          action={
            <Button asChild>
              <Link href={here}>Show all requests</Link>
            </Button>
          }
        >
          <p>The id is compared as a whole, with capital and small letters.</p>
        </EmptyState>
      ) : (
        <RequestLog appId={appId} first={first} filters={filters} />
      )}
    </>
  );
}

function text(value: string | string[] | undefined): string | undefined {
  const first = Array.isArray(value) ? value[0] : value;
  // What can't be stored can't be found either.
  const cut = first?.replaceAll(/\p{Cc}/gu, "").slice(0, 255);
  return cut === "" ? undefined : cut;
}
