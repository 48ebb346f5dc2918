import { ArrowRight, Check, Plus, X } from "lucide-react";
import Link from "next/link";
import { type ReactNode, useId } from "react";
import { grouped } from "#money";
import { AppTile } from "./app-tile.tsx";
import { Button } from "./button.tsx";
import { ConsentLimit } from "./consent-limit.tsx";
import { ConsentModels } from "./consent-models.tsx";
import { FormError } from "./field.tsx";
import { Mark } from "./mark.tsx";
import { Money } from "./money.tsx";
import { NotYou } from "./not-you.tsx";
import { percentOf } from "./percent.ts";

/** What a user allowed an app before, in all links of the user with the app. */
type Earlier = {
  scopes: readonly string[];
  /** Scopes of links with ids of the app's own; a request for fewer scopes leaves those links as they are. */
  ownIdScopes: readonly string[];
  monthlyLimit: bigint | null;
  allowedModels: string[];
  agreedMarkupBps: number;
};

type Props = {
  app: { name: string; siteUrl: string | null; logoUrl: string | null; markupBps: number };
  /** OAuth scopes that the app asks for. */
  scopes: readonly string[];
  email: string;
  balance: bigint;
  /** How many messages of a usual length the balance buys; null without a model whose price is known. */
  worth: { messages: bigint; model: string } | null;
  /** The models that the user may choose from. */
  models: { ids: string[]; ofThisApp: boolean };
  /** What the user allowed this app before; null for a first consent. */
  earlier: Earlier | null;
  /** The host that the user returns to. */
  returnHost: string;
  /** The path of the consent page, which the form posts to and which another user returns to after signing in. Without it the sheet is a preview. */
  page?: string | undefined;
  /** The form's token. */
  token?: string | undefined;
  /** What the user filled in for this request before. */
  typed?: TypedBefore | undefined;
  /** Whether something changed since the page was shown. */
  again?: boolean | undefined;
};

/** The filled-in form. */
export type TypedBefore = {
  limit: bigint | null;
  /** Text that was typed as the limit and is no amount. */
  problem?: string | undefined;
  models: string[];
};

const PROPOSED_LIMIT = 5_000_000n;

/** The consent page: the app, what it asks for, whose wallet, and how much it may spend. The dashboard's preview renders the same component. */
export function ConsentSheet({
  app,
  scopes,
  email,
  balance,
  worth,
  models,
  earlier,
  returnHost,
  page = "",
  token = "",
  typed,
  again,
}: Props) {
  const spends = scopes.includes("credits.spend");
  // An earlier consent without `credits.spend` did not ask for a limit, so its null does not mean that the user chose none.
  const spent = earlier?.scopes.includes("credits.spend") === true;
  const before = spent ? earlier.monthlyLimit : (earlier?.monthlyLimit ?? PROPOSED_LIMIT);
  const proposed = typed === undefined ? before : typed.limit;
  const ticked = typed?.models ?? earlier?.allowedModels ?? [];
  const asBefore = ticked.length > 0 && ticked.every((id) => models.ids.includes(id));
  const decision = `${page}/decision`;
  return (
    <div className="rounded-xl border border-line bg-surface p-5 sm:p-8">
      <div className="flex items-center gap-3 text-soft">
        {/* Only a logo in a data: address is shown: loading another would tell its server that this user is deciding. */}
        <AppTile name={app.name} logoUrl={app.logoUrl?.startsWith("data:image/") ? app.logoUrl : null} />
        <ArrowRight size={18} aria-hidden="true" />
        <Mark size={40} />
      </div>
      <h1 className="mt-5 text-balance text-xl font-semibold tracking-tight [overflow-wrap:anywhere]">
        <bdi title={app.name}>{shortened(app.name, 80)}</bdi> {spends ? "wants to use your wallet" : "wants to connect to your account"}
      </h1>
      {app.siteUrl !== null && <p className="mt-0.5 text-soft [overflow-wrap:anywhere]">{new URL(app.siteUrl).host}</p>}
      {again && (
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
              <ConsentLimit proposed={proposed} problem={typed?.problem} />
              {spent && typed === undefined && (
                <p className="mt-2 text-sm text-soft">
                  {asBefore
                    ? "Limit and models are what you set before. They are the same for all your connections with this app."
                    : "This is the limit you set before. It is one for all your connections with this app."}
                </p>
              )}
            </div>
            <p className="mt-3 text-sm text-soft">
              Your balance: <Money credits={balance} className="font-medium text-ink" />
              {balance === 0n ? <EmptyWallet page={page} /> : about(worth)}
            </p>
            <ConsentModels appName={app.name} {...models} ticked={ticked} />
          </>
        )}

        <p className="mt-6 border-t border-line pt-4 text-sm text-soft [overflow-wrap:anywhere]">
          Signed in as <span className="font-medium text-ink">{email}</span> · <NotYou page={page}>not you?</NotYou>
        </p>
        {/* "Allow" is first in the form, because Enter in a field presses the first submit button. */}
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
        {/* Without a credits scope the app is not listed in the wallet. */}
        {scopes.some((scope) => scope.startsWith("credits.")) && "Change or end this any time in Wallet → Connected apps. "}
        You return to {returnHost}.
      </p>
    </div>
  );
}

/** What the app may do; after an earlier consent, which of it is new. */
function Rights({ scopes, earlier }: { scopes: readonly string[]; earlier: Earlier | null }) {
  const can = rights(scopes);
  const before = earlier === null ? [] : rights(earlier.scopes);
  // Another link keeps scopes that this request does not ask for. A request without a credits scope changes no link.
  const kept = scopes.some((scope) => scope.startsWith("credits.")) ? earlier?.ownIdScopes : earlier?.scopes;
  const elsewhere = (scope: string) => kept?.includes(scope) === true;
  const here = (scope: string) => (elsewhere(scope) ? " through this connection" : "");
  const missing = ["credits.spend", "credits.read"].filter((scope) => !scopes.includes(scope));
  const cannot = [
    "top up, withdraw, or see other apps",
    scopes.includes("credits.spend") ? "spend more than you allow here" : `spend anything${here("credits.spend")}`,
    !scopes.includes("credits.read") && `see your balance${here("credits.read")}`,
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
      {missing.some(elsewhere) && (
        <p className="text-sm text-soft">What you allowed it in another connection stays as it is; see Wallet → Connected apps.</p>
      )}
    </div>
  );
}

function isWider(scopes: readonly string[], earlier: Earlier): boolean {
  const before = rights(earlier.scopes);
  return rights(scopes).some((line) => !before.includes(line));
}

function rights(scopes: readonly string[]): string[] {
  const has = (scope: string) => scopes.includes(scope);
  return [
    has("credits.spend") && "spend credits on AI requests you make",
    has("credits.read") && "see your balance",
    has("openid") && "know that it is you when you come back",
    has("profile") && "see your name",
    // An app with `credits.read` sees the email on connecting.
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

/** The models that a user may choose from: the app's, or all where the app names none. */
export function modelChoice(ofApp: string[], all: string[]): Props["models"] {
  return ofApp.length > 0 ? { ids: ofApp, ofThisApp: true } : { ids: all, ofThisApp: false };
}

/** Cuts a long name, which could push the rest of the page off the screen. The `<bdi>` around it isolates its text direction. */
export function shortened(name: string, length: number): string {
  const letters = [...name];
  return letters.length <= length
    ? name
    : `${letters
        .slice(0, length - 1)
        .join("")
        .trimEnd()}…`;
}

function about(worth: Props["worth"]): string {
  if (worth === null || worth.messages === 0n) return "";
  return ` · about ${grouped(rounded(worth.messages))} ${worth.messages === 1n ? "message" : "messages"} at ${worth.model}`;
}

/** Rounded down to two significant digits, because the estimate is not more exact. */
function rounded(count: bigint): bigint {
  const step = 10n ** BigInt(Math.max(0, String(count).length - 2));
  return (count / step) * step;
}

/** A link to adding credits, which returns to the consent page. */
function EmptyWallet({ page }: { page: string }) {
  const words = "add credits";
  return (
    <>
      . You can connect now; requests work once you{" "}
      {page === "" ? (
        <span className="prose-link">{words}</span>
      ) : (
        <Link href={`/wallet/add?returnTo=${encodeURIComponent(page)}`} className="prose-link">
          {words}
        </Link>
      )}
      .
    </>
  );
}
