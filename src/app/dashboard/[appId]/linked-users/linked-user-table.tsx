"use client";

import Link from "next/link";
import { type Answers, trpc } from "#trpc/client.tsx";
import { Badge } from "#ui/badge.tsx";
import { Money } from "#ui/money.tsx";
import { OlderButton } from "#ui/older-button.tsx";
import { Table, Td, Th, Tr } from "#ui/table.tsx";
import { Time } from "#ui/time.tsx";
import { useOlder } from "#ui/use-older.ts";

export function LinkedUserTable({ appId, search, first }: { appId: string; search: string; first: Answers["linkedUsers"]["list"] }) {
  const utils = trpc.useUtils();
  const { items, ...rest } = useOlder(first, (cursor) =>
    utils.linkedUsers.list.fetch({ appId, externalUserId: search || undefined, cursor }),
  );
  return (
    <>
      <Table label="Linked users">
        <thead>
          <tr>
            <Th>External user id</Th>
            <Th className="hidden md:table-cell">Email</Th>
            <Th className="hidden sm:table-cell">Linked</Th>
            <Th numeric>Monthly limit</Th>
            <Th numeric>Spent, 30 days</Th>
          </tr>
        </thead>
        <tbody>
          {items.map((item) => (
            <Tr key={item.id}>
              <Td className="max-w-36 sm:max-w-56">
                <span className="flex items-center gap-2">
                  <Link
                    href={`/dashboard/${appId}/usage?${new URLSearchParams({ external_user_id: item.externalUserId })}`}
                    className="prose-link truncate font-mono text-[0.8125rem]"
                    title={item.externalUserId}
                  >
                    {item.externalUserId}
                  </Link>
                  {item.pausedAt && <Badge tone="warning">Paused</Badge>}
                </span>
                <span className="block truncate text-soft md:hidden">{item.email}</span>
              </Td>
              <Td className="hidden max-w-64 truncate md:table-cell" title={item.email}>
                {item.email}
              </Td>
              <Td className="hidden whitespace-nowrap sm:table-cell">
                <Time at={item.linkedAt} dateOnly />
              </Td>
              <Td numeric>
                {item.monthlyLimit === null ? <span className="text-soft">none</span> : <Money credits={item.monthlyLimit} />}
              </Td>
              <Td numeric>
                <Money credits={item.spent} />
              </Td>
            </Tr>
          ))}
        </tbody>
      </Table>
      <OlderButton {...rest} />
    </>
  );
}
