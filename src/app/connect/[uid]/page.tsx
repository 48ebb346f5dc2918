import { ArrowRight, Check, Plus, X } from "lucide-react";
import type { Metadata } from "next";
import { headers } from "next/headers";
import Link from "next/link";
import { redirect } from "next/navigation";
import { type ReactNode, useId } from "react";
import { requireUser } from "#server/auth.ts";
import { consentToken, type Earlier, mustSignInAgain, type PendingRequest, pendingRequest, standing } from "#server/connect/consent.ts";
import type { Scope } from "#server/connect/scopes.ts";
import { allModels, findModel } from "#server/pricing/models.ts";
import { baseCost, markupOn } from "#server/pricing/price.ts";
import { grouped } from "#ui/amounts.ts";
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

type Search = { limit?: string; model?: string | string[]; again?: string; as?: string };
type Props = { params: Promise<{ uid: string }>; searchParams: Promise<Search> };

/** The consent page: what an app wants, who is asked, and how much they allow. */
export default async function Connect({ params, searchParams }: Props) {
  const { uid } = await params;
  const { limit, model, again, as } = await searchParams;
  const request = await pendingRequest(uid, (await headers()).get("cookie") ?? "");
  if (request === null) return <Over />;
  const page = `/connect/${encodeURIComponent(uid)}`;
  const user = await requireUser(page);
  const { app, scopes, signIn } = request;
  if (mustSignInAgain(signIn, user.signedInAt)) redirect(`/sign-in?again=1&callbackUrl=${encodeURIComponent(page)}`);
  // Who signed in for this request, or filled in the form, has chosen.
  const chosen = as === user.id || limit !== undefined || again !== undefined || (user.signedInAt ?? 0) >= signIn.beganAt;
  if (signIn.prompts.includes("select_account") && !chosen)
    return <WhichAccount appName={app.name} email={user.email} goOn={`${page}?as=${user.id}`} page={page} />;
  const spends = scopes.includes("credits.spend");
  const { balance, earlier } = await standing(user.id, app.id);
  const token = await consentToken(uid, user.id, app.markupBps);
  // Nobody has chosen to have no limit who was not asked for one.
  const spent = earlier?.scopes.includes("credits.spend") === true;
  const proposed = spent ? earlier.monthlyLimit : (earlier?.monthlyLimit ?? PROPOSED_LIMIT);
  const ticked = limit === undefined ? (earlier?.allowedModels ?? []) : [model ?? []].flat();
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
        <h1 className="mt-5 text-balance text-xl font-semibold tracking-tight [overflow-wrap:anywhere]">
          <bdi title={app.name}>{shortened(app.name, 80)}</bdi> {spends ? "wants to use your wallet" : "wants to connect to your account"}
        </h1>
        {app.siteUrl !== null && <p className="mt-0.5 text-soft [overflow-wrap:anywhere]">{new URL(app.siteUrl).host}</p>}
        {again !== undefined && (
          <div className="mt-4">
            <FormError>Something changed since this page was shown. Look at it once more, then decide.</FormError>
          </div>
        )}

        {earlier !== null && (
          <p className="mt-4 text-sm text-soft">
            You connected it before. {isWider(scopes, earlier) ? "Now it asks for more." : "It asks for nothing new."}
          </p>
        )}
        <Rights scopes={scopes} earlier={earlier} />

        <form action={decision} method="post" className="mt-6">
          <input type="hidden" name="token" value={token} />
          {!spends && <input type="hidden" name="limited" value="no" />}
          {spends && (
            <>
              <p>
                Each request costs the model’s price
                {app.markupBps > 0 ? (
                  <>
                    {" "}
                    <strong className="whitespace-nowrap font-semibold">+ {percentOf(app.markupBps)} %</strong> that goes to{" "}
                    <bdi title={app.name} className="[overflow-wrap:anywhere]">
                      {shortened(app.name, 40)}
                    </bdi>
                    {[...app.name].length > 40 ? "" : "."}
                  </>
                ) : (
                  `, and nothing on top.`
                )}
                {spent && earlier.agreedMarkupBps !== app.markupBps && ` It was ${percentOf(earlier.agreedMarkupBps)} % before.`}
              </p>
              <div className="mt-5">
                <Limit proposed={proposed} problem={limit} />
                {spent && limit === undefined && (
                  <p className="mt-2 text-sm text-soft">
                    {ticked.length === 0 ? "This is the limit you set before." : "Limit and models are what you set before."}
                  </p>
                )}
              </div>
              <p className="mt-3 text-sm text-soft">
                Your balance: <Money credits={balance} className="font-medium text-ink" />
                {balance === 0n ? `. You can connect now; requests work once you add credits.` : messages(balance, app.markupBps)}
              </p>
              <Models appName={app.name} ids={modelsOf(app)} ofThisApp={app.allowedModels.length > 0} ticked={ticked} />
            </>
          )}

          <p className="mt-6 border-t border-line pt-4 text-sm text-soft [overflow-wrap:anywhere]">
            Signed in as <span className="font-medium text-ink">{user.email}</span> · <NotYou page={page}>not you?</NotYou>
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
          {/* Who only signs in has nothing there. */}
          {scopes.some((scope) => scope.startsWith("credits.")) && "Change or end this any time in Wallet → Connected apps. "}
          You return to {request.returnHost}.
        </p>
      </div>
    </main>
  );
}

/** What the app may do from now on; when it was allowed something before, what of that is new. */
function Rights({ scopes, earlier }: { scopes: Scope[]; earlier: Earlier | null }) {
  const can = rights(scopes);
  const before = earlier === null ? [] : rights(earlier.scopes);
  const cannot = [
    "top up, withdraw, or see other apps",
    scopes.includes("credits.spend") ? "spend more than you allow here" : "spend anything",
    !scopes.includes("credits.read") && "see your balance",
  ].filter((line) => line !== false);
  return (
    <div className="mt-6 grid gap-4">
      {earlier === null ? (
        <List title="It can" lines={can} icon={<Check size={16} className="mt-1 shrink-0 text-accent" aria-hidden="true" />} />
      ) : (
        <>
          <List
            title="New"
            lines={can.filter((line) => !before.includes(line))}
            icon={<Plus size={16} className="mt-1 shrink-0 text-accent" aria-hidden="true" />}
          />
          <List
            title="Already allowed"
            lines={can.filter((line) => before.includes(line))}
            icon={<Check size={16} className="mt-1 shrink-0 text-soft" aria-hidden="true" />}
          />
        </>
      )}
      <List title="It can’t" lines={cannot} icon={<X size={16} className="mt-1 shrink-0 text-soft" aria-hidden="true" />} />
    </div>
  );
}

function isWider(scopes: Scope[], earlier: Earlier): boolean {
  const before = rights(earlier.scopes);
  return rights(scopes).some((line) => !before.includes(line));
}

function rights(scopes: Scope[]): string[] {
  const has = (scope: Scope) => scopes.includes(scope);
  return [
    has("credits.spend") && "spend credits on AI requests you make",
    has("credits.read") && "see your balance",
    has("openid") && "know that it is you when you come back",
    has("profile") && "see your name",
    // Connecting shows the address to an app that may act for the wallet.
    (has("email") || has("credits.read")) && "see your email address",
  ].filter((line) => line !== false);
}

function List({ title, lines, icon }: { title: string; lines: string[]; icon: ReactNode }) {
  const id = useId();
  if (lines.length === 0) return null;
  return (
    <section aria-labelledby={id}>
      <h2 id={id} className="text-sm font-medium text-soft">
        {title}
      </h2>
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

/** For apps that ask whose wallet it shall be. */
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

/** A name that could push everything else off the screen is not shown in full; nor does one (bdi) turn the words around it. */
function shortened(name: string, length: number): string {
  const letters = [...name];
  return letters.length <= length
    ? name
    : `${letters
        .slice(0, length - 1)
        .join("")
        .trimEnd()}…`;
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
