import { type inferRouterOutputs, TRPCError } from "@trpc/server";
import type { Metadata } from "next";
import Link from "next/link";
import { notFound } from "next/navigation";
import { Suspense } from "react";
import { requireUser } from "#server/people/auth.ts";
import { appOfPage, caller } from "#server/trpc/caller.ts";
import type { AppRouter } from "#server/trpc/root.ts";
import { Badge } from "#ui/badge.tsx";
import { Card, Fact, Facts } from "#ui/card.tsx";
import { PageHeading, SectionHeading } from "#ui/heading.tsx";
import { Money } from "#ui/money.tsx";
import { Loading } from "#ui/skeleton.tsx";
import { Time } from "#ui/time.tsx";
import { EditEndpointButton } from "../endpoint-dialog.tsx";
import { deliveryStates, EndpointState } from "../states.tsx";
import { DeliveryLog } from "./delivery-log.tsx";
import { EnableButton, RemoveButton, SecretButtons, SendTestButton } from "./endpoint-actions.tsx";

type Ids = { appId: string; endpointId: string };
type Props = { params: Promise<Ids>; searchParams: Promise<Record<string, string | string[] | undefined>> };

export const metadata: Metadata = { title: "Endpoint" };

export default async function EndpointPage({ params, searchParams }: Props) {
  const { appId, endpointId } = await params;
  await requireUser(`/dashboard/${appId}/webhooks/${endpointId}`);
  const app = await appOfPage(appId);
  const { status, type } = await searchParams;
  // Before the response begins, so that an unknown id is answered with 404.
  const endpoint = await (await caller()).webhooks.get({ appId: app.id, endpointId }).catch((error: unknown) => {
    // NOT_FOUND is an unknown endpoint, BAD_REQUEST text that is no id.
    if (error instanceof TRPCError && (error.code === "NOT_FOUND" || error.code === "BAD_REQUEST")) notFound();
    throw error;
  });
  return (
    <Suspense fallback={<Loading rows={8} />}>
      <Content appId={app.id} endpoint={endpoint} status={status} type={type} />
    </Suspense>
  );
}

type Endpoint = inferRouterOutputs<AppRouter>["webhooks"]["get"];
type ContentProps = { appId: string; endpoint: Endpoint; status: unknown; type: unknown };

async function Content({ appId, endpoint, ...asked }: ContentProps) {
  const api = await caller();
  const types = await api.webhooks.eventTypes({ appId });
  // An unknown value is ignored.
  const status = deliveryStates.find((each) => each.status === asked.status)?.status as "pending" | undefined;
  const type = types.find((each) => each.type === asked.type)?.type;
  const first = await api.webhooks.deliveries({ appId, endpointId: endpoint.id, status, type });
  return (
    <>
      <p className="mb-2 text-sm">
        <Link href={`/dashboard/${appId}/webhooks`} className="prose-link">
          Webhooks
        </Link>
      </p>
      <PageHeading
        title={<span className="font-mono text-base sm:text-lg">{endpoint.url}</span>}
        action={<SendTestButton appId={appId} endpoint={endpoint} types={types} />}
      >
        {endpoint.description}
      </PageHeading>
      {endpoint.notice !== null && <p className="mb-4 rounded-md bg-warning-wash px-3 py-2 text-sm text-warning">{endpoint.notice}</p>}
      <Card className="px-4 py-2 sm:px-5">
        <Facts>
          <Fact name="State">
            <span className="inline-flex flex-wrap items-center justify-end gap-2">
              {endpoint.sandbox && <Badge>Sandbox</Badge>}
              <EndpointState endpoint={endpoint} />
            </span>
          </Fact>
          <Fact name="Events">
            <code className="font-mono text-[0.8125rem]">{endpoint.events.join(", ")}</code>
          </Fact>
          {endpoint.events.includes("balance.low") && (
            <Fact name="A wallet is low below">
              <Money credits={endpoint.balanceLowThreshold} />
            </Fact>
          )}
          {endpoint.formerSecretUntil !== null && endpoint.formerSecretUntil > new Date() && (
            <Fact name="The former secret signs too until">
              <Time at={endpoint.formerSecretUntil} />
            </Fact>
          )}
        </Facts>
        <div className="flex flex-wrap gap-2 border-t border-line py-3">
          <EditEndpointButton appId={appId} types={types} endpoint={endpoint} />
          <SecretButtons appId={appId} endpoint={endpoint} />
          <EnableButton appId={appId} endpoint={endpoint} />
          <RemoveButton appId={appId} endpoint={endpoint} />
        </div>
      </Card>
      <SectionHeading>Deliveries</SectionHeading>
      <DeliveryLog
        key={`${status} ${type}`}
        appId={appId}
        endpoint={{ id: endpoint.id, disabled: endpoint.disabledAt !== null }}
        first={first}
        filters={{ status, type }}
        types={types.map((each) => each.type)}
      />
    </>
  );
}
