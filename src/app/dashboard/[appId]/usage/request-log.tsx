"use client";

import { type Answers, trpc } from "#trpc/client.tsx";
import { OlderButton } from "#ui/older-button.tsx";
import { useOlder } from "#ui/use-older.ts";
import { type LogFilters, logOf } from "./filters.ts";
import { RequestTable } from "./request-table.tsx";

type Props = {
  appId: string;
  first: Answers["usage"]["requests"];
  filters: LogFilters;
  ofOneUser?: boolean;
};

/** The log, a page at a time. A page may be empty and still not be the last. */
export function RequestLog({ appId, first, filters, ofOneUser }: Props) {
  const utils = trpc.useUtils();
  const { items, ...rest } = useOlder(first, (cursor) => utils.usage.requests.fetch({ appId, ...logOf(filters), cursor }));
  return (
    <>
      {items.length > 0 ? (
        <RequestTable items={items} ofOneUser={ofOneUser} />
      ) : (
        <p role="status" className="rounded-lg border border-dashed border-line-strong/50 px-6 py-6 text-center text-soft">
          {rest.more ? "None among the latest requests. Go on to look through older ones." : "No request of this period matches."}
        </p>
      )}
      <OlderButton {...rest} />
    </>
  );
}
