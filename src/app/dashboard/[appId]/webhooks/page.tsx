import type { Metadata } from "next";
import Link from "next/link";
import { Suspense } from "react";
import { requireUser } from "#server/people/auth.ts";
import { appOfPage, caller } from "#server/trpc/caller.ts";
import { Badge } from "#ui/badge.tsx";
import { EmptyState } from "#ui/card.tsx";
import { PageHeading } from "#ui/heading.tsx";
import { Loading } from "#ui/skeleton.tsx";
import { NewEndpointButton } from "./endpoint-dialog.tsx";
import { EndpointState } from "./states.tsx";

export const metadata: Metadata = { title: "Webhooks" };

export default async function Webhooks({ params }: { params: Promise<{ appId: string }> }) {
  const { appId } = await params;
  await requireUser(`/dashboard/${appId}/webhooks`);
  const app = await appOfPage(appId);
  return (
    <Suspense
      fallback={
        <>
          <PageHeading title="Webhooks" />
          <Loading rows={4} />
        </>
      }
    >
      <Content appId={app.id} />
    </Suspense>
  );
}

async function Content({ appId }: { appId: string }) {
  const api = await caller();
  const [endpoints, types] = await Promise.all([api.webhooks.list({ appId }), api.webhooks.eventTypes({ appId })]);
  if (endpoints.length === 0) {
    return (
      <>
        <PageHeading title="Webhooks" />
        <EmptyState title="No endpoints yet" action={<NewEndpointButton appId={appId} types={types} />}>
          <p>
            An endpoint is an address of yours that is told when people connect or leave, when requests were billed and when a wallet runs
            low.
          </p>
        </EmptyState>
      </>
    );
  }
  return (
    <>
      <PageHeading title="Webhooks" action={<NewEndpointButton appId={appId} types={types} />}>
        Addresses of yours that are told what happens. Each delivery is signed, and repeated for three days until it arrives.
      </PageHeading>
      <ul className="divide-y divide-line overflow-hidden rounded-lg border border-line bg-surface">
        {endpoints.map((endpoint) => (
          <li key={endpoint.id}>
            <Link
              href={`/dashboard/${appId}/webhooks/${endpoint.id}`}
              className="block space-y-1 px-4 py-3.5 -outline-offset-2 hover:bg-sunken sm:px-5"
            >
              <span className="flex flex-wrap items-center gap-x-3 gap-y-1">
                <code className="min-w-0 flex-1 truncate max-sm:basis-full font-mono text-[0.8125rem] font-medium" title={endpoint.url}>
                  {endpoint.url}
                </code>
                {endpoint.sandbox && <Badge>Sandbox</Badge>}
                <EndpointState endpoint={endpoint} />
              </span>
              <span className="block truncate text-sm text-soft">{endpoint.description ?? endpoint.events.join(", ")}</span>
            </Link>
          </li>
        ))}
      </ul>
    </>
  );
}
