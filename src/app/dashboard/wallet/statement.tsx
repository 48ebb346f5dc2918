"use client";

import Link from "next/link";
import { type Answers, trpc } from "#trpc/client.tsx";
import { type Column, DataTable, opener } from "#ui/data-table.tsx";
import { Money } from "#ui/money.tsx";
import { OlderButton } from "#ui/older-button.tsx";
import { Time } from "#ui/time.tsx";
import { transferWords } from "#ui/transfer-words.ts";
import { useOlder } from "#ui/use-older.ts";

type Page = Answers["developerWallet"]["statement"];
type Item = Page["items"][number];

const columns: Column<Item>[] = [
  { id: "time", header: "Time", cellClassName: "whitespace-nowrap", cell: (item) => <Time at={item.at} /> },
  { id: "what", header: "What", cellClassName: "w-full max-w-0", cell: (item) => <What item={item} /> },
  { id: "amount", header: "Amount", numeric: true, cell: (item) => <Money credits={item.amount} signed /> },
];

export function DeveloperStatement({ show, first }: { show: "everything" | "requests" | "funding"; first: Page }) {
  const utils = trpc.useUtils();
  const { items, ...rest } = useOlder(first, (cursor) => utils.developerWallet.statement.fetch({ show, cursor }));
  return (
    <>
      <DataTable label="Statement" columns={columns} items={items} idOf={(item) => item.id} />
      <OlderButton {...rest} />
    </>
  );
}

function What({ item }: { item: Item }) {
  if (item.kind === "request") {
    const name = item.app?.name ?? "An app";
    return (
      <>
        {item.app === null ? (
          name
        ) : (
          <Link href={`/dashboard/${item.app.id}/usage?request_id=${item.requestId}`} {...opener} className="prose-link">
            {name}
          </Link>
        )}
        <span className="block truncate font-mono text-[0.8125rem] leading-5 text-soft">{item.model}</span>
      </>
    );
  }
  return (
    <>
      {item.to === null ? (
        transferWords[item.reason]
      ) : (
        <>
          <span className="block truncate" title={item.to.externalUserId}>
            Given to{" "}
            <Link href={`/dashboard/${item.to.appId}/linked-users/${item.to.linkedUserId}`} {...opener} className="prose-link">
              {item.to.externalUserId}
            </Link>{" "}
          </span>
          <span className="block truncate text-sm leading-5 text-soft">of {item.to.appName}</span>
        </>
      )}
      {item.description && (
        <span className="block truncate text-sm leading-5 text-soft" title={item.description}>
          {item.description}
        </span>
      )}
    </>
  );
}
