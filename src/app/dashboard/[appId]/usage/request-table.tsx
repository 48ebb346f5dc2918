"use client";

import { useRef, useState } from "react";
import { exactDollars, grouped, inCredits } from "#money";
import type { Answers } from "#trpc/client.tsx";
import { Badge } from "#ui/badge.tsx";
import { Fact, Facts } from "#ui/card.tsx";
import { CopyBox } from "#ui/copy-box.tsx";
import { type Column, DataTable, opener } from "#ui/data-table.tsx";
import { Dialog } from "#ui/dialog.tsx";
import { Money } from "#ui/money.tsx";
import { billingModes, Outcome, outcomeSays } from "#ui/request-words.tsx";
import { Time } from "#ui/time.tsx";

type Item = Answers["usage"]["requests"]["items"][number];

const columns: Column<Item>[] = [
  {
    id: "time",
    header: "Time",
    cellClassName: "whitespace-nowrap",
    cell: (item) => (
      <button
        type="button"
        {...opener}
        className="rounded-sm underline decoration-line-strong/60 underline-offset-4"
        aria-haspopup="dialog"
      >
        <Time at={item.createdAt} />
      </button>
    ),
  },
  {
    id: "model",
    header: "Model",
    // This column takes the width that is left, so that the table is never wider than its card.
    cellClassName: "max-w-36 sm:w-[30%] sm:max-w-0",
    cell: (item) => (
      <>
        <span className="block truncate font-mono text-[0.8125rem]" title={item.model}>
          {item.model}
        </span>
        <span className="flex gap-1.5 text-sm leading-5 sm:hidden">
          {item.outcome !== "completed" && <Outcome outcome={item.outcome} />}
        </span>
      </>
    ),
  },
  {
    id: "user",
    header: "Linked user",
    className: "hidden md:table-cell",
    cellClassName: "w-[25%] max-w-0 truncate font-mono text-[0.8125rem]",
    cell: (item) =>
      item.externalUserId === null ? (
        <span className="font-sans text-soft">none</span>
      ) : (
        <span title={item.externalUserId}>{item.externalUserId}</span>
      ),
  },
  {
    id: "outcome",
    header: "Outcome",
    className: "hidden sm:table-cell",
    cell: (item) => (
      <span className="flex gap-1.5">
        <Outcome outcome={item.outcome} />
        {item.billingMode === "test" && <Badge>Sandbox</Badge>}
      </span>
    ),
  },
  {
    id: "tokens",
    header: "Tokens",
    numeric: true,
    className: "hidden md:table-cell",
    cell: (item) => grouped(item.promptTokens + item.completionTokens),
  },
  { id: "cost", header: "Cost", numeric: true, cell: (item) => <Money credits={item.base + item.markup} /> },
];

const columnsOfOneUser = columns.filter(({ id }) => id !== "user");

/** Requests; each row opens to its full record. `ofOneUser`: all are of the linked user whose page it is. */
export function RequestTable({ items, ofOneUser = false }: { items: Item[]; ofOneUser?: boolean }) {
  const [shown, setShown] = useState<Item | null>(null);
  const openedBy = useRef<HTMLElement>(null);
  return (
    <>
      <DataTable
        label="Requests"
        columns={ofOneUser ? columnsOfOneUser : columns}
        items={items}
        idOf={(item) => item.id}
        onOpen={(item, opener) => {
          openedBy.current = opener;
          setShown(item);
        }}
      />
      <Dialog
        open={shown !== null}
        onOpenChange={(open) => !open && setShown(null)}
        title="Request"
        returnFocusTo={openedBy}
        description={shown ? outcomeSays(shown.outcome) : undefined}
      >
        {shown && <RequestRecord item={shown} />}
      </Dialog>
    </>
  );
}

function RequestRecord({ item }: { item: Item }) {
  return (
    <div className="space-y-4">
      <CopyBox label="Request id" text={item.requestId} />
      <Facts>
        <Fact name="Outcome">
          <Outcome outcome={item.outcome} />
        </Fact>
        {item.heldAt && (
          <Fact name="Credits held">
            <Time at={item.heldAt} exact />
          </Fact>
        )}
        <Fact name="Settled">
          <Time at={item.createdAt} exact />
        </Fact>
        <Fact name="Took">{item.durationMs < 1000 ? `${item.durationMs} ms` : `${(item.durationMs / 1000).toFixed(1)} s`}</Fact>
        <Fact name="Endpoint">
          <code className="font-mono">{item.endpoint}</code>
          {item.streamed && ", streamed"}
        </Fact>
        <Fact name="Model">
          <code className="font-mono">{item.model}</code>
        </Fact>
        <Fact name="Provider">{item.provider ?? "none was reached"}</Fact>
        <Fact name="Its status">{item.upstreamStatus ?? "no answer"}</Fact>
        <Fact name="API key">
          {item.apiKeyId === null ? (
            "none: a user's access token"
          ) : item.apiKey ? (
            <>
              {item.apiKey.name} <code className="font-mono text-soft">{item.apiKey.fragment}</code>
            </>
          ) : (
            "removed"
          )}
        </Fact>
        <Fact name="Billing mode">{billingModes[item.billingMode].name}</Fact>
        <Fact name="Linked user">{item.externalUserId === null ? "none" : <code className="font-mono">{item.externalUserId}</code>}</Fact>
        <Fact name="Input tokens">
          {grouped(item.promptTokens)}
          {item.cachedTokens > 0 && `, ${grouped(item.cachedTokens)} of them cached`}
        </Fact>
        <Fact name="Output tokens">{grouped(item.completionTokens)}</Fact>
        {item.countedBy && (
          <Fact name="Counted by">{item.countedBy === "provider" ? "the provider" : "a tokenizer, from what was delivered"}</Fact>
        )}
        <Amount name="Held" credits={item.held} />
        <Amount name="Price of the model" credits={item.base} />
        <Amount name="Your markup" credits={item.markup} />
        <Amount name="Paid" credits={item.base + item.markup} strong />
        <Amount name="Returned" credits={item.held - item.base - item.markup} />
        {item.shortfall > 0n && <Amount name="Above the hold, borne by Quota" credits={item.shortfall} />}
      </Facts>
    </div>
  );
}

function Amount({ name, credits, strong = false }: { name: string; credits: bigint; strong?: boolean }) {
  return (
    <Fact name={name}>
      <span className="mr-3 text-soft tabular-nums">{inCredits(credits)}</span>
      <data value={String(credits)} className={strong ? "font-semibold tabular-nums" : "tabular-nums"}>
        {exactDollars(credits)}
      </data>
    </Fact>
  );
}
