"use client";

import { useState } from "react";
import type { Answers } from "#trpc/client.tsx";
import { grouped, inCredits } from "#ui/amounts.ts";
import { Badge } from "#ui/badge.tsx";
import { Fact, Facts } from "#ui/card.tsx";
import { CopyBox } from "#ui/copy-box.tsx";
import { Dialog } from "#ui/dialog.tsx";
import { Money } from "#ui/money.tsx";
import { billingModes, Outcome, outcomeSays } from "#ui/request-words.tsx";
import { Table, Td, Th, Tr } from "#ui/table.tsx";
import { Time } from "#ui/time.tsx";

type Item = Answers["usage"]["requests"]["items"][number];

/** Requests, each of which opens to its full record. */
export function RequestTable({ items }: { items: Item[] }) {
  const [shown, setShown] = useState<Item | null>(null);
  return (
    <>
      <Table label="Requests">
        <thead>
          <tr>
            <Th>Time</Th>
            <Th>Model</Th>
            <Th className="hidden md:table-cell">Linked user</Th>
            <Th className="hidden sm:table-cell">Outcome</Th>
            <Th numeric className="hidden md:table-cell">
              Tokens
            </Th>
            <Th numeric>Cost</Th>
          </tr>
        </thead>
        <tbody>
          {items.map((item) => (
            // The row is only a larger target for the pointer; the button in it is what keyboards and screen readers use.
            <Tr key={item.id} className="cursor-pointer hover:bg-sunken/60" onClick={() => setShown(item)}>
              <Td className="whitespace-nowrap">
                <button type="button" className="rounded-sm underline decoration-line-strong/60 underline-offset-4" aria-haspopup="dialog">
                  <Time at={item.createdAt} />
                </button>
              </Td>
              <Td className="max-w-36 sm:max-w-56">
                <span className="block truncate font-mono text-[0.8125rem]">{item.model}</span>
                <span className="flex gap-1.5 text-sm leading-5 sm:hidden">
                  {item.outcome !== "completed" && <Outcome outcome={item.outcome} />}
                </span>
              </Td>
              <Td className="hidden max-w-48 truncate font-mono text-[0.8125rem] md:table-cell">
                {item.externalUserId ?? <span className="font-sans text-soft">none</span>}
              </Td>
              <Td className="hidden sm:table-cell">
                <span className="flex gap-1.5">
                  <Outcome outcome={item.outcome} />
                  {item.billingMode === "test" && <Badge>Sandbox</Badge>}
                </span>
              </Td>
              <Td numeric className="hidden md:table-cell">
                {grouped(item.promptTokens + item.completionTokens)}
              </Td>
              <Td numeric>
                <Money credits={item.base + item.markup} />
              </Td>
            </Tr>
          ))}
        </tbody>
      </Table>
      <Dialog
        open={shown !== null}
        onOpenChange={(open) => !open && setShown(null)}
        title="Request"
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
        <Fact name="Finished">{item.createdAt.toISOString()}</Fact>
        <Fact name="Took">{item.durationMs < 1000 ? `${item.durationMs} ms` : `${(item.durationMs / 1000).toFixed(1)} s`}</Fact>
        <Fact name="Endpoint">
          <code className="font-mono">{item.endpoint}</code>
          {item.streamed && ", streamed"}
        </Fact>
        <Fact name="Model">
          <code className="font-mono">{item.model}</code>
        </Fact>
        <Fact name="Provider">
          {item.provider ?? "none was reached"}
          {item.upstreamStatus !== null && `, answered ${item.upstreamStatus}`}
        </Fact>
        <Fact name="API key">
          {item.apiKey ? (
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
        <Amount name="Reserved" credits={item.held} />
        <Amount name="Price of the model" credits={item.base} />
        <Amount name="Your markup" credits={item.markup} />
        <Amount name="Paid" credits={item.base + item.markup} strong />
      </Facts>
    </div>
  );
}

function Amount({ name, credits, strong = false }: { name: string; credits: bigint; strong?: boolean }) {
  return (
    <Fact name={name}>
      <span className="mr-3 text-soft tabular-nums">{inCredits(credits)}</span>
      <Money credits={credits} className={strong ? "font-semibold" : undefined} />
    </Fact>
  );
}
