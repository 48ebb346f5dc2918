import type { Metadata } from "next";
import Link from "next/link";
import { Suspense } from "react";
import { requireUser } from "#server/people/auth.ts";
import { exampleMessage } from "#server/pricing/example.ts";
import { allModels } from "#server/pricing/models.ts";
import { appOfPage, caller } from "#server/trpc/caller.ts";
import { Card } from "#ui/card.tsx";
import { CopyBox } from "#ui/copy-box.tsx";
import { PageHeading, SectionHeading } from "#ui/heading.tsx";
import { Loading } from "#ui/skeleton.tsx";
import { ClientSecret } from "./client-secret.tsx";
import { DeleteApp } from "./delete-app.tsx";
import { ProfileForm } from "./profile-form.tsx";
import { SettingsForm } from "./settings-form.tsx";

export const metadata: Metadata = { title: "Settings" };

export default async function Settings({ params }: { params: Promise<{ appId: string }> }) {
  const { appId } = await params;
  await requireUser(`/dashboard/${appId}/settings`);
  const app = await appOfPage(appId);
  return (
    <>
      <PageHeading title="Settings">What people see of this app, what it adds to the price, and how they connect to it.</PageHeading>
      <Suspense fallback={<Loading rows={8} />}>
        <Content appId={app.id} />
      </Suspense>
    </>
  );
}

async function Content({ appId }: { appId: string }) {
  const [app, api, user] = await Promise.all([appOfPage(appId), caller(), requireUser(`/dashboard/${appId}/settings`)]);
  const [{ available }, apps, proofNeeded] = await Promise.all([api.wallet.balance(), api.apps.list(), api.account.proofNeeded()]);
  const all = [...allModels().keys()];
  return (
    <>
      <SettingsForm
        app={app}
        // A chosen model can be removed also when this server no longer has it.
        models={[...all, ...app.allowedModels.filter((id) => !all.includes(id))]}
        viewer={{ email: user.email, balance: available, example: exampleMessage() }}
      />
      <div className="max-w-2xl">
        <SectionHeading>Connect Wallet</SectionHeading>
        <Card className="space-y-5 p-4 sm:p-6">
          <p className="text-soft">What this app identifies itself with when a person connects their wallet.</p>
          <CopyBox label="Client id" text={app.clientId} />
          {app.publicClient ? <p className="text-sm text-soft">A public client has no use for a secret.</p> : <ClientSecret app={app} />}
        </Card>
        <SectionHeading>Your profile</SectionHeading>
        <Card className="space-y-5 p-4 sm:p-6">
          <p className="text-soft">
            You are signed in as <span className="font-medium text-ink [overflow-wrap:anywhere]">{user.email}</span>. Password and sessions
            are under{" "}
            <Link href="/wallet/security" className="prose-link">
              Security
            </Link>
            .
          </p>
          <ProfileForm name={user.name} />
        </Card>
        <SectionHeading>Delete this app</SectionHeading>
        <Card className="flex flex-wrap items-center justify-between gap-4 p-4 sm:p-6">
          <p className="min-w-0 flex-1 basis-64 text-soft">
            Its keys, its client and everybody’s connection end. What was spent and earned stays in the books.
          </p>
          <DeleteApp
            app={{ id: app.id, name: app.name }}
            proofNeeded={proofNeeded}
            linkedUsers={apps.find(({ id }) => id === app.id)?._count.linkedUsers ?? 0}
          />
        </Card>
      </div>
    </>
  );
}
