"use client";

import Link from "next/link";
import { type Answers, trpc } from "#trpc/client.tsx";
import { Badge } from "#ui/badge.tsx";
import { Card } from "#ui/card.tsx";
import { Money } from "#ui/money.tsx";
import { OlderButton } from "#ui/older-button.tsx";
import { Time } from "#ui/time.tsx";
import { useOlder } from "#ui/use-older.ts";

type TopUp = Answers["payments"]["topUps"]["items"][number];

/** Top-ups, newest first; paid ones link to their receipt. */
export function TopUpList({ first }: { first: Answers["payments"]["topUps"] }) {
  const utils = trpc.useUtils();
  const { items, ...rest } = useOlder(first, (cursor) => utils.payments.topUps.fetch({ cursor }));
  return (
    <>
      <Card className="overflow-hidden">
        <ul className="divide-y divide-line">
          {items.map((each) => (
            <li key={each.id}>
              {each.status === "paid" ? (
                <Link
                  href={`/wallet/receipts/${each.id}`}
                  className="flex items-center gap-4 px-4 py-3 -outline-offset-2 hover:bg-sunken/60 sm:px-5"
                >
                  <Line topUp={each} />
                </Link>
              ) : (
                <div className="flex items-center gap-4 px-4 py-3 sm:px-5">
                  <Line topUp={each} />
                </div>
              )}
            </li>
          ))}
        </ul>
      </Card>
      <OlderButton {...rest} />
    </>
  );
}

function Line({ topUp }: { topUp: TopUp }) {
  return (
    <>
      <span className="min-w-0 flex-1">
        <span className="flex items-center gap-2 font-medium">
          {topUp.automatic ? "Automatic top-up" : "Top-up"}
          <Outcome topUp={topUp} />
        </span>
        <span className="block truncate text-sm leading-5 text-soft">
          <Time at={topUp.paidAt ?? topUp.createdAt} />
          {topUp.provider === "sandbox" ? " · Sandbox, no money moved" : topUp.method ? ` · ${topUp.method}` : ""}
          {topUp.status === "failed" && topUp.problem ? ` · ${topUp.problem}` : ""}
        </span>
      </span>
      <Money credits={topUp.amount} className={topUp.status === "failed" ? "text-soft line-through" : "font-medium"} />
    </>
  );
}

function Outcome({ topUp }: { topUp: TopUp }) {
  if (topUp.status === "failed") return <Badge tone="bad">Failed</Badge>;
  if (topUp.status !== "paid") return <Badge tone="warning">On its way</Badge>;
  const kinds = new Set(topUp.reversals.map(({ kind }) => kind));
  if (kinds.has("dispute")) return <Badge tone="warning">Disputed</Badge>;
  return kinds.has("refund") ? <Badge>Refunded</Badge> : null;
}
