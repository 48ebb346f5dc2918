"use client";

import { CircleCheck, Loader } from "lucide-react";
import Link from "next/link";
import { type ReactNode, useState } from "react";
import { grouped } from "#money";
import { type Answers, failureOf, trpc } from "#trpc/client.tsx";
import { Badge } from "#ui/badge.tsx";
import { Button } from "#ui/button.tsx";
import { Card } from "#ui/card.tsx";
import { Choice, Choices } from "#ui/choice.tsx";
import { classes } from "#ui/classes.ts";
import { CodeBlock } from "#ui/code-block.tsx";
import { CopyBox, ShownOnce } from "#ui/copy-box.tsx";
import { CopyButton } from "#ui/copy-button.tsx";
import { FormError } from "#ui/field.tsx";
import { FormBody } from "#ui/form-body.tsx";
import { KeepFocus } from "#ui/keep-focus.tsx";
import { Money } from "#ui/money.tsx";
import { Outcome } from "#ui/request-words.tsx";
import { Tabs } from "#ui/tabs.tsx";
import { Time } from "#ui/time.tsx";
import { PLACEHOLDER, snippets } from "./snippets.ts";

type Requests = Answers["apps"]["newestRequests"];
type Mode = "developer" | "test";
type Props = { app: { id: string; name: string }; origin: string; model: string; balance: bigint; requests: Requests };

const LOOK_EVERY_MS = 1_500;

/** One screen from no API key to a request that has arrived. */
export function FirstRequest({ app, origin, model, balance, requests }: Props) {
  const [mode, setMode] = useState<Mode>(balance > 0n ? "developer" : "test");
  const mint = trpc.apiKeys.mint.useMutation();
  const failure = failureOf(mint.error);
  const arriving = trpc.apps.newestRequests.useQuery(
    { appId: app.id },
    // react-query polls only while the tab is visible.
    { initialData: requests, refetchInterval: LOOK_EVERY_MS, refetchOnWindowFocus: true },
  );
  const arrived = arriving.data.length > 0;
  const made = mint.data;
  return (
    <ol className="space-y-6">
      <Step n={1} title={`${app.name} is registered`} done />
      <Step n={2} title="Make an API key" done={made !== undefined || arrived}>
        <KeepFocus>
          {made === undefined ? (
            <form
              className="max-w-xl"
              onSubmit={(event) => {
                event.preventDefault();
                mint.mutate({ appId: app.id, name: mode === "test" ? "First key, sandbox" : "First key", billingMode: mode });
              }}
            >
              <FormBody className="space-y-4">
                {failure.message !== null && <FormError>{failure.message}</FormError>}
                <Choices legend="Who pays for the first request">
                  <Choice
                    type="radio"
                    name="mode"
                    checked={mode === "developer"}
                    onChange={() => setMode("developer")}
                    disabled={balance === 0n}
                    title="You, from your own wallet"
                    says={
                      balance === 0n ? (
                        "Your wallet is empty."
                      ) : (
                        <>
                          It has <Money credits={balance} />; a short question costs a small part of a cent.
                        </>
                      )
                    }
                  />
                  <Choice
                    type="radio"
                    name="mode"
                    checked={mode === "test"}
                    onChange={() => setMode("test")}
                    title="Nobody: the sandbox"
                    says="A simulator answers, with play credits."
                  />
                </Choices>
                <Button type="submit" kind="primary" unavailable={mint.isPending}>
                  {mint.isPending ? "Making the key" : "Make a key"}
                </Button>
              </FormBody>
            </form>
          ) : (
            <div className="max-w-2xl space-y-3">
              <ShownOnce what="this key" />
              <CopyBox label="API key" text={made.secret} />
            </div>
          )}
        </KeepFocus>
      </Step>
      <Step n={3} title="Send a request" done={arrived}>
        <Snippets origin={origin} apiKey={made?.secret ?? PLACEHOLDER} model={model} />
        {made === undefined && (
          <p className="mt-2 text-sm text-soft">
            With a key from step 2 it runs as it stands. A key of your own that you have saved does it too.
          </p>
        )}
      </Step>
      <Arrival app={app} requests={arriving.data} isError={arriving.isError} />
    </ol>
  );
}

function Snippets({ origin, apiKey, model }: { origin: string; apiKey: string; model: string }) {
  const all = snippets({ origin, key: apiKey, model });
  return (
    <Tabs
      label="Language"
      tabs={all.map(({ id, name, before, text }) => ({
        id,
        name,
        content: (
          <div className="min-w-0 rounded-lg border border-line bg-surface">
            <div className="flex items-center justify-between gap-4 border-b border-line py-1.5 pl-4 pr-1.5">
              <p className="min-w-0 text-sm text-soft">{before}</p>
              <CopyButton text={text} what={`the ${name} snippet`} kind={apiKey === PLACEHOLDER ? "secondary" : "primary"} />
            </div>
            <CodeBlock label={`${name} snippet`} className="rounded-t-none">
              {text}
            </CodeBlock>
          </div>
        ),
      }))}
    />
  );
}

/** Shows the first request, and later ones, once they have arrived. */
function Arrival({ app, requests, isError }: { app: Props["app"]; requests: Requests; isError: boolean }) {
  const arrived = requests.length > 0;
  return (
    <Step n={4} title={arrived ? "It arrived" : "Waiting for the first request"} done={arrived} live>
      {isError && <p className="mb-2 text-sm text-danger">The server does not answer. This goes on by itself when it does.</p>}
      {!arrived ? (
        <p className="flex items-center gap-2 text-soft">
          <Loader size={16} className="animate-spin motion-reduce:animate-none" aria-hidden="true" />
          It appears here by itself, a moment after it was answered.
        </p>
      ) : (
        <>
          <ul className="divide-y divide-line overflow-hidden rounded-lg border border-line bg-surface">
            {requests.map((request) => (
              // Two lines on a narrow screen, columns on a wide one.
              <li
                key={request.id}
                className="grid grid-cols-[minmax(4rem,1fr)_auto] items-center gap-x-4 gap-y-1 px-4 py-2.5 text-sm sm:grid-cols-[6rem_minmax(0,1fr)_10.5rem_6.5rem_4rem]"
              >
                <code className="truncate font-mono text-[0.8125rem] sm:order-2" title={request.model}>
                  {request.model}
                </code>
                <span className="flex flex-wrap justify-end gap-x-3 whitespace-nowrap sm:contents">
                  <span className="tabular-nums text-soft sm:order-4 sm:text-right">
                    {grouped(request.promptTokens + request.completionTokens)} tokens
                  </span>
                  <Money credits={request.base + request.markup} className="font-medium sm:order-5 sm:text-right" />
                </span>
                <span className="col-span-full flex flex-wrap items-center gap-x-3 gap-y-1 sm:contents">
                  <Time at={request.createdAt} className="whitespace-nowrap text-soft sm:order-1" />
                  <span className="flex gap-1.5 sm:order-3">
                    <Outcome outcome={request.outcome} />
                    {request.billingMode === "test" && <Badge>Sandbox</Badge>}
                  </span>
                </span>
              </li>
            ))}
          </ul>
          {requests.every(({ outcome }) => outcome === "failed") && (
            <p className="mt-2 text-sm text-soft">
              The provider did not answer it, so nothing was billed. The answer that you got says why.
            </p>
          )}
          <Card className="mt-4 p-4 sm:p-5">
            <h3 className="font-semibold">Next: let people pay for their own</h3>
            <p className="mt-1 text-soft">
              Name your app’s redirect URI in the settings and see the page on which people connect their wallet. Requests that name a
              person in <code className="font-mono text-[0.8125rem]">X-Quota-User</code> are then paid by that person.
            </p>
            <div className="mt-4 flex flex-wrap gap-3">
              <Button asChild kind="primary">
                <Link href={`/dashboard/${app.id}/settings`}>Set up Connect Wallet</Link>
              </Button>
              <Button asChild>
                <Link href={`/dashboard/${app.id}/usage`}>See all requests</Link>
              </Button>
            </div>
          </Card>
        </>
      )}
    </Step>
  );
}

function Step({
  n,
  title,
  done,
  live = false,
  children,
}: {
  n: number;
  title: string;
  done: boolean;
  live?: boolean;
  children?: ReactNode;
}) {
  return (
    <li className="grid grid-cols-[1.75rem_minmax(0,1fr)] gap-x-3">
      <span
        aria-hidden="true"
        className={classes(
          "flex size-7 items-center justify-center rounded-full text-sm font-medium tabular-nums",
          done ? "text-accent" : "bg-sunken text-soft",
        )}
      >
        {done ? <CircleCheck size={22} /> : n}
      </span>
      <div className="min-w-0">
        <h2 className="font-semibold leading-7 [overflow-wrap:anywhere]" aria-live={live ? "polite" : undefined}>
          {title}
          {done && <span className="sr-only">, done</span>}
        </h2>
        {children !== undefined && <div className="mt-3">{children}</div>}
      </div>
    </li>
  );
}
