"use client";

import { type Answers, trpc } from "#trpc/client.tsx";
import { OlderButton } from "#ui/older-button.tsx";
import { useOlder } from "#ui/use-older.ts";
import { RequestTable } from "./request-table.tsx";

type Props = {
  appId: string;
  first: Answers["usage"]["requests"];
  filters: { model?: string | undefined; externalUserId?: string | undefined };
};

export function RequestLog({ appId, first, filters }: Props) {
  const utils = trpc.useUtils();
  const { items, ...rest } = useOlder(first, (cursor) => utils.usage.requests.fetch({ appId, ...filters, cursor }));
  return (
    <>
      <RequestTable items={items} />
      <OlderButton {...rest} />
    </>
  );
}
