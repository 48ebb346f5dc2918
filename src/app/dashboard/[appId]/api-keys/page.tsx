import type { Metadata } from "next";
import { Suspense } from "react";
import { requireUser } from "#server/people/auth.ts";
import { appOfPage, caller } from "#server/trpc/caller.ts";
import { EmptyState } from "#ui/card.tsx";
import { PageHeading, SectionHeading } from "#ui/heading.tsx";
import { KeepFocus } from "#ui/keep-focus.tsx";
import { Loading } from "#ui/skeleton.tsx";
import { EndedKeys } from "./ended-keys.tsx";
import { KeyTable } from "./key-table.tsx";
import { NewKeyButton } from "./new-key.tsx";

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
  const api = await caller();
  const [keys, ended] = await Promise.all([api.apiKeys.list({ appId }), api.apiKeys.ended({ appId })]);
  return (
    <KeepFocus>
      {keys.length === 0 ? (
        <>
          <PageHeading title="API keys" />
          <EmptyState title={ended.items.length === 0 ? "No keys yet" : "No key works"} action={<NewKeyButton appId={appId} />}>
            <p>Your server sends a key with every request. The key says which app is asking, and its billing mode says who pays.</p>
          </EmptyState>
        </>
      ) : (
        <>
          <PageHeading title="API keys" action={<NewKeyButton appId={appId} />}>
            For your server only. Whoever has a key can spend in this app’s name.
          </PageHeading>
          <KeyTable appId={appId} keys={keys} />
        </>
      )}
      {ended.items.length > 0 && (
        <>
          <SectionHeading>Ended</SectionHeading>
          {/* The key remounts the list when another key has ended, so that it begins with that one. */}
          <EndedKeys key={ended.items[0]?.id} appId={appId} first={ended} />
        </>
      )}
    </KeepFocus>
  );
}
