"use client";

import Link from "next/link";
import { useRouter } from "next/navigation";
import { useMemo } from "react";
import { grouped } from "#money";
import { type Answers, trpc } from "#trpc/client.tsx";
import { Badge } from "#ui/badge.tsx";
import { type Column, DataTable, opener } from "#ui/data-table.tsx";
import { LimitBar } from "#ui/limit-bar.tsx";
import { Money } from "#ui/money.tsx";
import { OlderButton } from "#ui/older-button.tsx";
import type { PeriodName } from "#ui/period-links.tsx";
import { Time } from "#ui/time.tsx";
import { useOlder } from "#ui/use-older.ts";

type Item = Answers["linkedUsers"]["list"]["items"][number];
type Props = { appId: string; search: string; period: PeriodName; first: Answers["linkedUsers"]["list"] };

/** Linked users; each row opens to a page of its own. */
export function LinkedUserTable({ appId, search, period, first }: Props) {
  const router = useRouter();
  const utils = trpc.useUtils();
  const { items, ...rest } = useOlder(first, (cursor) =>
    utils.linkedUsers.list.fetch({ appId, search: search || undefined, period, cursor }),
  );
  const columns = useMemo(() => columnsOf((item) => `/dashboard/${appId}/linked-users/${item.id}`), [appId]);
  return (
    <>
      <DataTable
        label="Linked users"
        columns={columns}
        items={items}
        idOf={(item) => item.id}
        onOpen={(item) => router.push(`/dashboard/${appId}/linked-users/${item.id}`)}
      />
      <OlderButton {...rest} />
    </>
  );
}

function columnsOf(addressOf: (item: Item) => string): Column<Item>[] {
  return [
    {
      id: "user",
      header: "External user id",
      cellClassName: "max-w-36 sm:max-w-56",
      cell: (item) => (
        <>
          <span className="flex items-center gap-2">
            <Link href={addressOf(item)} {...opener} className="prose-link truncate font-mono text-[0.8125rem]" title={item.externalUserId}>
              {item.externalUserId}
            </Link>
            {item.pausedAt && <Badge tone="warning">Paused</Badge>}
          </span>
          {item.email !== null && (
            <span className="block truncate text-sm leading-5 text-soft" title={item.email}>
              {item.email}
            </span>
          )}
        </>
      ),
    },
    { id: "requests", header: "Requests", numeric: true, className: "hidden sm:table-cell", cell: (item) => grouped(item.requests) },
    { id: "spent", header: "Spent", numeric: true, cell: (item) => <Money credits={item.spent} /> },
    {
      id: "limit",
      header: "Left this month",
      numeric: true,
      className: "hidden sm:table-cell",
      cell: (item) => (item.limit === null ? <span className="text-soft">no limit</span> : <LimitBar {...item.limit} />),
    },
    {
      id: "seen",
      header: "Last seen",
      className: "hidden whitespace-nowrap md:table-cell",
      cell: (item) => (item.lastSeenAt === null ? <span className="text-soft">never</span> : <Time at={item.lastSeenAt} />),
    },
    {
      id: "linked",
      header: "Linked",
      className: "hidden whitespace-nowrap lg:table-cell",
      cell: (item) => <Time at={item.linkedAt} dateOnly />,
    },
  ];
}
