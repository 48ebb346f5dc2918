"use client";

import { type Answers, trpc } from "#trpc/client.tsx";
import { Badge } from "#ui/badge.tsx";
import { OlderButton } from "#ui/older-button.tsx";
import { Table, Td, Th, Tr } from "#ui/table.tsx";
import { Ago, Time } from "#ui/time.tsx";
import { useOlder } from "#ui/use-older.ts";

/** Revoked and expired keys, for the record. */
export function EndedKeys({ appId, first }: { appId: string; first: Answers["apiKeys"]["ended"] }) {
  const utils = trpc.useUtils();
  const { items, more, state, showOlder } = useOlder(first, (cursor) => utils.apiKeys.ended.fetch({ appId, cursor }));
  return (
    <>
      <Table label="Keys that have ended">
        <thead>
          <tr>
            <Th>Name</Th>
            <Th className="hidden sm:table-cell">Last used</Th>
            <Th>Ended</Th>
          </tr>
        </thead>
        <tbody>
          {items.map((key) => (
            <Tr key={key.id}>
              <Td className="max-w-44 sm:max-w-64">
                <span className="block truncate" title={key.name}>
                  {key.name}
                </span>
                <code className="block font-mono text-[0.8125rem] leading-5 text-soft">{key.fragment}</code>
              </Td>
              <Td className="hidden whitespace-nowrap sm:table-cell">
                {key.lastUsedAt === null ? <span className="text-soft">never</span> : <Ago at={key.lastUsedAt} />}
              </Td>
              <Td>
                <span className="flex flex-wrap items-center gap-x-2">
                  <Badge tone={key.revokedAt === null ? "plain" : "bad"}>
                    {key.revokedAt !== null
                      ? "Revoked"
                      : key.rolledTo !== null
                        ? `Rolled to …${key.rolledTo.fragment.slice(-4)}`
                        : "Expired"}
                  </Badge>
                  <Time at={(key.revokedAt ?? key.expiresAt) as Date} className="whitespace-nowrap text-soft" />
                </span>
              </Td>
            </Tr>
          ))}
        </tbody>
      </Table>
      <OlderButton more={more} state={state} showOlder={showOlder} />
    </>
  );
}
