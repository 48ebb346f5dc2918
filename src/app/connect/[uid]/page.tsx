import type { Metadata } from "next";
import { headers } from "next/headers";
import Link from "next/link";
import { redirect } from "next/navigation";
import { creditsOf } from "#money";
import { consentContext, consentToken, type FilledIn, filledInBefore, mustSignInAgain, pendingRequest } from "#server/connect/consent.ts";
import { requireUser } from "#server/people/auth.ts";
import { exampleMessage } from "#server/pricing/example.ts";
import { allModels } from "#server/pricing/models.ts";
import { timesPaid } from "#server/pricing/price.ts";
import { Button } from "#ui/button.tsx";
import { ConsentSheet, modelChoice, shortened, type TypedBefore } from "#ui/consent-sheet.tsx";
import { Mark } from "#ui/mark.tsx";
import { MessagePage } from "#ui/message-page.tsx";
import { NotYou } from "#ui/not-you.tsx";

export const metadata: Metadata = { title: "Connect", robots: { index: false }, referrer: "no-referrer" };

type Search = { again?: string; as?: string };
type Props = { params: Promise<{ uid: string }>; searchParams: Promise<Search> };

/** The consent page: the app, what it asks for, whose wallet, and how much it may spend. */
export default async function Connect({ params, searchParams }: Props) {
  const { uid } = await params;
  const { again, as } = await searchParams;
  const request = await pendingRequest(uid, (await headers()).get("cookie") ?? "");
  if (request === null) return <Over />;
  const page = `/connect/${encodeURIComponent(uid)}`;
  const user = await requireUser(page);
  const { app, scopes, signIn, returnHost } = request;
  if (mustSignInAgain(signIn, user.signedInAt)) redirect(`/sign-in?again=1&callbackUrl=${encodeURIComponent(page)}`);
  const filledIn = await filledInBefore(uid, user.id);
  // A user who signed in for this request, or filled in the form, has chosen the account.
  const chosen = as === user.id || filledIn !== null || again !== undefined || (user.signedInAt ?? 0) >= signIn.beganAt;
  if (signIn.prompts.includes("select_account") && !chosen)
    return <WhichAccount appName={app.name} email={user.email} goOn={`${page}?as=${user.id}`} page={page} />;
  const { balance, earlier } = await consentContext(user.id, app.id);
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
        typed={filledIn === null ? undefined : readBack(filledIn)}
        again={again !== undefined || (filledIn !== null && filledIn.markupBps !== app.markupBps)}
      />
    </main>
  );
}

/** The stored form in the shape that the page takes. */
function readBack({ limited, limit, models }: FilledIn): TypedBefore {
  const credits = limited ? creditsOf(limit) : null;
  return { limit: credits, problem: limited && (credits === null || credits === 0n) ? limit : undefined, models };
}

/** Asks which account to use, for requests with `prompt=select_account`. */
function WhichAccount({ appName, email, goOn, page }: { appName: string; email: string; goOn: string; page: string }) {
  return (
    <main className="mx-auto flex w-full max-w-lg flex-1 flex-col justify-center px-4 py-6 sm:py-10">
      <div className="rounded-xl border border-line bg-surface p-5 sm:p-8">
        <Mark size={40} />
        <h1 className="mt-5 text-balance text-xl font-semibold tracking-tight [overflow-wrap:anywhere]">
          Which account should <bdi title={appName}>{shortened(appName, 80)}</bdi> use?
        </h1>
        <div className="mt-6 grid gap-3">
          <Button asChild kind="primary" className="h-auto! min-h-10 whitespace-normal! py-2 text-center [overflow-wrap:anywhere]">
            <Link href={goOn}>Continue as {email}</Link>
          </Button>
          <NotYou page={page} look="button">
            Use another account
          </NotYou>
        </div>
      </div>
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
