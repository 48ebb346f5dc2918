"use client";

import { useSyncExternalStore } from "react";

/**
 * A moment in the reader's own time zone, exact on hover. The server does not know
 * that zone and writes UTC; the browser replaces it when it takes over.
 */
export function Time({
  at,
  dateOnly = false,
  exact = false,
  className,
}: {
  at: Date;
  dateOnly?: boolean;
  /** To the millisecond, in UTC. */
  exact?: boolean;
  className?: string;
}) {
  const inBrowser = useSyncExternalStore(
    nothingChanges,
    () => true,
    () => false,
  );
  return (
    <time dateTime={at.toISOString()} title={at.toISOString()} className={className}>
      {exact ? at.toISOString() : written(at, dateOnly, inBrowser ? undefined : "UTC")}
    </time>
  );
}

const nothingChanges = () => () => {};

function written(at: Date, dateOnly: boolean, timeZone: string | undefined): string {
  const thisYear = at.getUTCFullYear() === new Date().getUTCFullYear();
  return new Intl.DateTimeFormat("en-GB", {
    day: "numeric",
    month: "short",
    ...(thisYear && !dateOnly ? {} : { year: "numeric" }),
    ...(dateOnly ? {} : { hour: "2-digit", minute: "2-digit" }),
    timeZone,
  }).format(at);
}
