import type { Metadata } from "next";
import { Suspense } from "react";
import { publicUrl } from "#env";
import { availableModels } from "#server/gateway/available.ts";
import { requireUser } from "#server/people/auth.ts";
import { appOfPage, caller } from "#server/trpc/caller.ts";
import { PageHeading } from "#ui/heading.tsx";
import { Loading } from "#ui/skeleton.tsx";
import { FirstRequest } from "./first-request.tsx";

export const metadata: Metadata = { title: "Get started" };

export default async function GetStarted({ params }: { params: Promise<{ appId: string }> }) {
  const { appId } = await params;
  await requireUser(`/dashboard/${appId}/get-started`);
  const app = await appOfPage(appId);
  return (
    <>
      <PageHeading title="Get started">From here to the first request takes about a minute.</PageHeading>
      <Suspense fallback={<Loading rows={5} />}>
        <Content appId={app.id} />
      </Suspense>
    </>
  );
}

async function Content({ appId }: { appId: string }) {
  const [app, api] = await Promise.all([appOfPage(appId), caller()]);
  const [{ available }, requests] = await Promise.all([api.wallet.balance(), api.apps.newestRequests({ appId })]);
  return (
    <FirstRequest
      app={{ id: app.id, name: app.name }}
      origin={publicUrl()}
      model={exampleModel(app.allowedModels)}
      balance={available}
      requests={requests}
    />
  );
}

const FAMILIAR = "gpt-4o-mini";

/** A model that this server offers and the app allows; a well-known one where possible. */
function exampleModel(allowed: string[]): string {
  const chat = availableModels().filter(({ id, kind }) => kind === "chat" && (allowed.length === 0 || allowed.includes(id)));
  return (chat.find(({ id }) => id === FAMILIAR) ?? chat[0])?.id ?? FAMILIAR;
}
