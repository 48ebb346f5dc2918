import { ArrowRight, Check, X } from "lucide-react";
import type { Metadata } from "next";
import { headers } from "next/headers";
import Link from "next/link";
import type { ReactNode } from "react";
import { requireUser } from "#server/auth.ts";
import { consentToken, type PendingRequest, pendingRequest, standing } from "#server/connect/consent.ts";
import { allModels, findModel } from "#server/pricing/models.ts";
import { baseCost, markupOn } from "#server/pricing/price.ts";
import { exactDollars, grouped } from "#ui/amounts.ts";
import { AppTile } from "#ui/app-tile.tsx";
import { Button } from "#ui/button.tsx";
import { FormError } from "#ui/field.tsx";
import { Mark } from "#ui/mark.tsx";
import { MessagePage } from "#ui/message-page.tsx";
import { Money } from "#ui/money.tsx";
import { percentOf } from "#ui/percent.ts";
import { Limit } from "./limit.tsx";
import { Models } from "./models.tsx";
import { NotYou } from "./not-you.tsx";

export const metadata: Metadata = { title: "Connect", robots: { index: false }, referrer: "no-referrer" };

const PROPOSED_LIMIT = 5_000_000n;

type Props = { params: Promise<{ uid: string }>; searchParams: Promise<{ limit?: string; again?: string }> };

/** The consent page: what an app wants, who is asked, and how much they allow. */
export default async function Connect({ params, searchParams }: Props) {
  const { uid } = await params;
  const { limit, again } = await searchParams;
  const request = await pendingRequest(uid, (await headers()).get("cookie") ?? "");
  if (request === null) return <Over />;
  const page = `/connect/${encodeURIComponent(uid)}`;
  const user = await requireUser(page);
  const { app, scopes } = request;
  const spends = scopes.includes("credits.spend");
  const { balance, earlier } = await standing(user.id, app.id);
  const token = await consentToken(uid, user.id, app.markupBps);
  const proposed = earlier === null ? PROPOSED_LIMIT : earlier.monthlyLimit;
  const decision = `${page}/decision`;

  return (
    <main className="mx-auto flex w-full max-w-lg flex-1 flex-col justify-center px-4 py-6 sm:py-10">
      <div className="rounded-xl border border-line bg-surface p-5 sm:p-8">
        <div className="flex items-center gap-3 text-soft">
          {/* A logo from elsewhere would tell its server who is deciding what, so only one that comes with the page is shown. */}
          <AppTile name={app.name} logoUrl={app.logoUrl?.startsWith("data:image/") ? app.logoUrl : null} />
          <ArrowRight size={18} aria-hidden="true" />
          <Mark size={40} />
        </div>
        <h1 className="mt-5 text-xl font-semibold tracking-tight [overflow-wrap:anywhere]">
          {app.name} {spends ? "wants to use your wallet" : "wants to connect to your account"}
        </h1>
        {app.siteUrl !== null && <p className="mt-0.5 text-soft [overflow-wrap:anywhere]">{new URL(app.siteUrl).host}</p>}
        {again !== undefined && (
          <div className="mt-4">
            <FormError>Something changed since this page was shown. Look at it once more, then decide.</FormError>
          </div>
        )}
        {earlier !== null && (
          <p className="mt-4 rounded-md bg-sunken px-3 py-2 text-sm">
            You connected {app.name} before,{" "}
            {earlier.monthlyLimit === null ? "without a limit" : `with ${exactDollars(earlier.monthlyLimit)} a month`}. What you set here is
            for this connection.
          </p>
        )}

        <Rights request={request} />

        <form action={decision} method="post" className="mt-6">
          <input type="hidden" name="token" value={token} />
          {spends && (
            <>
              <p>
                Each request costs the model’s price
                {app.markupBps > 0 ? (
                  <>
                    {" "}
                    <strong className="font-semibold">+ {percentOf(app.markupBps)} %</strong> that goes to {app.name}.
                  </>
                ) : (
                  `, and nothing on top.`
                )}
              </p>
              <div className="mt-5">
                <Limit proposed={proposed} problem={limit} />
              </div>
              <p className="mt-3 text-sm text-soft">
                Your balance: <Money credits={balance} className="font-medium text-ink" />
                {balance === 0n ? (
                  <>
                    . You can connect now; requests work once you{" "}
                    <Link href={`/wallet/add?returnTo=${encodeURIComponent(page)}`} className="prose-link">
                      add credits
                    </Link>
                    .
                  </>
                ) : (
                  messages(balance, app.markupBps)
                )}
              </p>
              <Models appName={app.name} ids={modelsOf(app)} ofThisApp={app.allowedModels.length > 0} />
            </>
          )}

          <p className="mt-6 border-t border-line pt-4 text-sm text-soft [overflow-wrap:anywhere]">
            Signed in as <span className="font-medium text-ink">{user.email}</span> · <NotYou page={page} />
          </p>
          {/* Allow comes first in the form, so that Enter in a field never means Cancel. */}
          <div className="mt-4 flex flex-row-reverse gap-3">
            <Button type="submit" name="decision" value="allow" kind="primary" className="flex-1">
              Allow
            </Button>
            <Button type="submit" form="cancel" className="flex-1">
              Cancel
            </Button>
          </div>
        </form>
        <form id="cancel" action={decision} method="post">
          <input type="hidden" name="token" value={token} />
          <input type="hidden" name="decision" value="cancel" />
        </form>
        <p className="mt-4 text-sm text-soft [overflow-wrap:anywhere]">
          Change or end this any time in Wallet → Connected apps. You return to {request.returnHost}.
        </p>
      </div>
    </main>
  );
}

function Rights({ request: { scopes } }: { request: PendingRequest }) {
  const has = (scope: PendingRequest["scopes"][number]) => scopes.includes(scope);
  const can = [
    has("credits.spend") && "spend credits on AI requests you make",
    has("credits.read") && "see your balance",
    has("openid") && "know that it is you when you come back",
    has("profile") && "see your name",
    // Connecting shows the address to an app that may act for the wallet.
    (has("email") || has("credits.read")) && "see your email address",
  ].filter((line) => line !== false);
  const cannot = [
    "top up, withdraw, or see other apps",
    has("credits.spend") ? "spend more than you allow here" : "spend anything",
    !has("credits.read") && "see your balance",
  ].filter((line) => line !== false);
  return (
    <div className="mt-6 grid gap-4">
      <List title="It can" lines={can} icon={<Check size={16} className="mt-1 shrink-0 text-accent" aria-hidden="true" />} />
      <List title="It can’t" lines={cannot} icon={<X size={16} className="mt-1 shrink-0 text-soft" aria-hidden="true" />} />
    </div>
  );
}

function List({ title, lines, icon }: { title: string; lines: string[]; icon: ReactNode }) {
  return (
    <section>
      <h2 className="text-sm font-medium text-soft">{title}</h2>
      <ul className="mt-1 space-y-0.5">
        {lines.map((line) => (
          <li key={line} className="flex gap-2.5">
            {icon}
            {line}
          </li>
        ))}
      </ul>
    </section>
  );
}

function modelsOf(app: PendingRequest["app"]): string[] {
  return app.allowedModels.length > 0 ? app.allowedModels : [...allModels().keys()];
}

const EXAMPLE_MODEL = "gpt-4o-mini";

/** What a balance is worth, in messages of a usual length. */
function messages(balance: bigint, markupBps: number): string {
  const model = findModel(EXAMPLE_MODEL);
  if (model === undefined) return "";
  const usage = { promptTokens: 1_000, cachedTokens: 0, cacheWriteTokens: 0, completionTokens: 400 };
  const base = baseCost(model, usage, new Date().toISOString().slice(0, 10));
  const count = balance / (base + markupOn(base, markupBps));
  return count === 0n ? "" : ` · about ${grouped(rounded(count))} ${count === 1n ? "message" : "messages"} at ${EXAMPLE_MODEL}`;
}

/** To two digits that count: nobody can know more. */
function rounded(count: bigint): bigint {
  const step = 10n ** BigInt(Math.max(0, String(count).length - 2));
  return (count / step) * step;
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
