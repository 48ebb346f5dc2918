import type { Metadata } from "next";
import { Suspense } from "react";
import { requireUser } from "#server/auth.ts";
import { appOfPage, caller } from "#server/trpc/caller.ts";
import { Badge } from "#ui/badge.tsx";
import { EmptyState } from "#ui/card.tsx";
import { PageHeading } from "#ui/heading.tsx";
import { billingModes } from "#ui/request-words.tsx";
import { Loading } from "#ui/skeleton.tsx";
import { Table, Td, Th, Tr } from "#ui/table.tsx";
import { Time } from "#ui/time.tsx";
import { NewKeyButton } from "./new-key.tsx";
import { RevokeButton } from "./revoke-key.tsx";

export const metadata: Metadata = { title: "API keys" };

export default async function ApiKeys({ params }: { params: Promise<{ appId: string }> }) {
  const { appId } = await params;
  await requireUser(`/dashboard/${appId}/api-keys`);
  const app = await appOfPage(appId);
  return (
    <Suspense
      fallback={
        <>
          <PageHeading title="API keys" />
          <Loading />
        </>
      }
    >
      <Content appId={app.id} />
    </Suspense>
  );
}

async function Content({ appId }: { appId: string }) {
  const keys = await (await caller()).apiKeys.list({ appId });
  if (keys.length === 0) {
    return (
      <>
        <PageHeading title="API keys" />
        <EmptyState title="No keys yet" action={<NewKeyButton appId={appId} />}>
          <p>Your server sends a key with every request. The key says which app is asking, and its billing mode says who pays.</p>
        </EmptyState>
      </>
    );
  }
  const now = new Date();
  return (
    <>
      <PageHeading title="API keys" action={<NewKeyButton appId={appId} />}>
        For your server only. Whoever has a key can spend in this app's name.
      </PageHeading>
      <Table label="API keys">
        <thead>
          <tr>
            <Th>Name</Th>
            <Th className="hidden sm:table-cell">Billing mode</Th>
            <Th className="hidden md:table-cell">Created</Th>
            <Th className="hidden md:table-cell">Expires</Th>
            <Th>
              <span className="sr-only">State</span>
            </Th>
          </tr>
        </thead>
        <tbody>
          {keys.map((key) => (
            <Tr key={key.id}>
              <Td className="max-w-44 sm:max-w-64">
                <span className="block truncate font-medium" title={key.name}>
                  {key.name}
                </span>
                <code className="block font-mono text-[0.8125rem] leading-5 text-soft">{key.fragment}</code>
                <span className="mt-1 block sm:hidden">
                  <Badge>{billingModes[key.billingMode].name}</Badge>
                </span>
              </Td>
              <Td className="hidden sm:table-cell">
                <span title={billingModes[key.billingMode].says}>{billingModes[key.billingMode].name}</span>
              </Td>
              <Td className="hidden whitespace-nowrap md:table-cell">
                <Time at={key.createdAt} dateOnly />
              </Td>
              <Td className="hidden whitespace-nowrap md:table-cell">
                {key.expiresAt === null ? <span className="text-soft">never</span> : <Time at={key.expiresAt} dateOnly />}
              </Td>
              <Td className="text-right">
                {key.revokedAt !== null ? (
                  <span title={`Revoked at ${key.revokedAt.toISOString()}`}>
                    <Badge tone="bad">Revoked</Badge>
                  </span>
                ) : key.expiresAt !== null && key.expiresAt <= now ? (
                  <Badge tone="warning">Expired</Badge>
                ) : (
                  <RevokeButton appId={appId} apiKey={{ id: key.id, name: key.name, fragment: key.fragment }} />
                )}
              </Td>
            </Tr>
          ))}
        </tbody>
      </Table>
    </>
  );
}
