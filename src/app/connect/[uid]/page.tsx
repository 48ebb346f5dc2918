import type { Metadata } from "next";
import { headers } from "next/headers";
import Link from "next/link";
import { requireUser } from "#server/auth.ts";
import { consentToken, pendingRequest, standing } from "#server/connect/consent.ts";
import { exampleMessage } from "#server/pricing/example.ts";
import { allModels } from "#server/pricing/models.ts";
import { timesPaid } from "#server/pricing/price.ts";
import { Button } from "#ui/button.tsx";
import { ConsentSheet, modelChoice } from "#ui/consent-sheet.tsx";
import { MessagePage } from "#ui/message-page.tsx";

export const metadata: Metadata = { title: "Connect", robots: { index: false }, referrer: "no-referrer" };

type Props = { params: Promise<{ uid: string }>; searchParams: Promise<{ limit?: string; again?: string }> };

export default async function Connect({ params, searchParams }: Props) {
  const { uid } = await params;
  const { limit, again } = await searchParams;
  const request = await pendingRequest(uid, (await headers()).get("cookie") ?? "");
  if (request === null) return <Over />;
  const page = `/connect/${encodeURIComponent(uid)}`;
  const user = await requireUser(page);
  const { app, scopes, returnHost } = request;
  const { balance, earlier } = await standing(user.id, app.id);
  const example = exampleMessage();
  const messages = example && timesPaid(balance, example.base, app.markupBps);
  return (
    <main className="mx-auto flex w-full max-w-lg flex-1 flex-col justify-center px-4 py-6 sm:py-10">
      <ConsentSheet
        app={app}
        scopes={scopes}
        email={user.email}
        balance={balance}
        worth={example && messages !== null ? { messages, model: example.model } : null}
        models={modelChoice(app.allowedModels, [...allModels().keys()])}
        earlier={earlier}
        returnHost={returnHost}
        page={page}
        token={await consentToken(uid, user.id, app.markupBps)}
        limitProblem={limit}
        again={again !== undefined}
      />
    </main>
  );
}

function Over() {
  return (
    <main className="flex flex-1 flex-col">
      <MessagePage
        title="This request is over"
        actions={
          <Button asChild>
            <Link href="/wallet">Go to your wallet</Link>
          </Button>
        }
      >
        <p>It took too long, was answered already, or was begun in another browser. To connect, go back to the app and start again.</p>
      </MessagePage>
    </main>
  );
}
