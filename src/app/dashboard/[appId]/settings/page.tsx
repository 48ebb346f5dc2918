import type { Metadata } from "next";
import { requireUser } from "#server/auth.ts";
import { appOfPage } from "#server/trpc/caller.ts";
import { Card } from "#ui/card.tsx";
import { CopyBox } from "#ui/copy-box.tsx";
import { PageHeading, SectionHeading } from "#ui/heading.tsx";
import { SettingsForm } from "./settings-form.tsx";

export const metadata: Metadata = { title: "Settings" };

export default async function Settings({ params }: { params: Promise<{ appId: string }> }) {
  const { appId } = await params;
  await requireUser(`/dashboard/${appId}/settings`);
  const app = await appOfPage(appId);
  return (
    <div className="max-w-2xl">
      <PageHeading title="Settings">What people see of this app, and what it adds to the price.</PageHeading>
      <Card className="p-4 sm:p-6">
        <SettingsForm app={app} />
      </Card>
      <SectionHeading>Connect Wallet</SectionHeading>
      <Card className="space-y-4 p-4 sm:p-6">
        <p className="text-soft">What your app identifies itself with when a person connects their wallet.</p>
        <CopyBox label="Client id" text={app.clientId} />
        <div>
          <p className="mb-1.5 text-sm font-medium">Client secret</p>
          <p className="text-sm text-soft">
            <code className="font-mono text-ink">{app.clientSecretFragment}</code>, shown once when the app was created.
          </p>
        </div>
      </Card>
    </div>
  );
}
