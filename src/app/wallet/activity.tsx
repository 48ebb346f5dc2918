"use client";

import Link from "next/link";
import { useState } from "react";
import { grouped, inCredits } from "#money";
import { type Answers, trpc } from "#trpc/client.tsx";
import { Card, Fact, Facts } from "#ui/card.tsx";
import { CopyBox } from "#ui/copy-box.tsx";
import { Dialog } from "#ui/dialog.tsx";
import { Money } from "#ui/money.tsx";
import { OlderButton } from "#ui/older-button.tsx";
import { Time } from "#ui/time.tsx";
import { transferWords } from "#ui/transfer-words.ts";
import { useOlder } from "#ui/use-older.ts";

type Entry = Answers["wallet"]["statement"]["items"][number];

/** The wallet's statement; each row opens to its receipt. */
export function Activity({ first, appId }: { first: Answers["wallet"]["statement"]; appId: string | null }) {
  const utils = trpc.useUtils();
  const { items, ...rest } = useOlder(first, (cursor) => utils.wallet.statement.fetch({ appId, cursor }));
  const [shown, setShown] = useState<Entry | null>(null);
  return (
    <>
      <Card className="overflow-hidden">
        <ul className="divide-y divide-line">
          {items.map((entry) => (
            <li key={entry.id}>
              <button
                type="button"
                aria-haspopup="dialog"
                onClick={() => setShown(entry)}
                className="flex w-full items-center gap-4 px-4 py-3 text-left -outline-offset-2 hover:bg-sunken/60 sm:px-5"
              >
                <span className="min-w-0 flex-1">
                  <span className="block truncate font-medium">{titleOf(entry)}</span>
                  <span className="block truncate text-sm leading-5 text-soft">
                    <Time at={entry.at} />
                    {detailOf(entry)}
                  </span>
                </span>
                <Money
                  credits={entry.amount > 0n ? entry.amount : -entry.amount}
                  signed={entry.amount > 0n}
                  className={entry.amount > 0n ? "font-medium text-accent" : undefined}
                />
              </button>
            </li>
          ))}
        </ul>
      </Card>
      <OlderButton {...rest} />
      <Dialog
        open={shown !== null}
        onOpenChange={(open) => !open && setShown(null)}
        title="Receipt"
        description={shown ? titleOf(shown) : undefined}
      >
        {shown && <Receipt entry={shown} />}
      </Dialog>
    </>
  );
}

function Receipt({ entry }: { entry: Entry }) {
  const amount = entry.amount > 0n ? entry.amount : -entry.amount;
  return (
    <div className="space-y-5">
      <p>
        <Money credits={amount} signed={entry.amount > 0n} className="text-3xl font-semibold tracking-tight" />
        <span className="block text-sm text-soft">
          {inCredits(amount)} {entry.amount > 0n ? "came in" : "went out"}
        </span>
      </p>
      <Facts>
        <Fact name="When">
          <Time at={entry.at} exact />
        </Fact>
        {entry.kind === "request" ? (
          <>
            <Fact name="App">{entry.appName}</Fact>
            <Fact name="Model">
              <code className="font-mono">{entry.model}</code>
            </Fact>
            <Fact name="Input tokens">{grouped(entry.promptTokens)}</Fact>
            <Fact name="Output tokens">{grouped(entry.completionTokens)}</Fact>
            <Part name="Reserved" credits={entry.held} />
            <Part name="Price of the model" credits={entry.base} />
            <Part name={`For ${entry.appName}`} credits={entry.markup} />
            <Part name="Charged in the end" credits={amount} />
            {entry.interrupted && <Fact name="Note">The answer was broken off; what had arrived was billed.</Fact>}
          </>
        ) : (
          <>
            <Fact name="What">{titleOf(entry)}</Fact>
            {entry.appName && <Fact name={entry.reason === "top_up" ? "Begun in" : "App"}>{entry.appName}</Fact>}
            {entry.amount < 0n && entry.externalUserId && <Fact name="Linked user">{entry.externalUserId}</Fact>}
            {entry.description && <Fact name="Note">{entry.description}</Fact>}
            {entry.paymentId && (
              <Fact name="Top-up">
                <Link href={`/wallet/receipts/${entry.paymentId}`} className="prose-link">
                  Receipt to print
                </Link>
              </Fact>
            )}
          </>
        )}
      </Facts>
      <CopyBox
        label={entry.kind === "request" ? "Request id" : "Transaction id"}
        text={entry.kind === "request" ? entry.requestId : entry.id}
      />
    </div>
  );
}

function Part({ name, credits }: { name: string; credits: bigint }) {
  return (
    <Fact name={name}>
      <span className="mr-3 text-soft tabular-nums">{inCredits(credits)}</span>
      <Money credits={credits} />
    </Fact>
  );
}

function titleOf(entry: Entry): string {
  if (entry.kind === "request") return entry.appName;
  // A transfer of credits is income of one wallet and spending of the other.
  if (entry.reason === "funding" && entry.amount < 0n) return `Credits given to ${entry.externalUserId ?? "a linked user"}`;
  if (entry.reason === "funding" && entry.appName !== null) return `Credits from ${entry.appName}`;
  return transferWords[entry.reason];
}

function detailOf(entry: Entry): string {
  if (entry.kind === "transfer") return entry.description ? ` · ${entry.description}` : "";
  const tokens = entry.promptTokens + entry.completionTokens;
  return ` · ${entry.model} · ${grouped(tokens)} ${tokens === 1 ? "token" : "tokens"}`;
}
