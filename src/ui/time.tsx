"use client";

import { useSyncExternalStore } from "react";

/**
 * A time in the browser's time zone, exact on hover. The server does not know the time zone
 * and renders UTC, which the browser replaces on hydration.
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

/** How long ago a time was; exact on hover. */
export function Ago({ at, className }: { at: Date; className?: string }) {
  // The server and the browser may render texts that differ by a unit.
  return (
    <time dateTime={at.toISOString()} title={at.toISOString()} className={className} suppressHydrationWarning>
      {ago(Date.now() - at.getTime())}
    </time>
  );
}

const UNITS = [
  [365 * 24 * 60 * 60_000, "year"],
  [30 * 24 * 60 * 60_000, "month"],
  [24 * 60 * 60_000, "day"],
  [60 * 60_000, "hour"],
  [60_000, "minute"],
] as const;

/** `2 hours ago`, in the largest unit of which it is at least one. */
export function ago(milliseconds: number): string {
  for (const [length, name] of UNITS) {
    const count = Math.floor(milliseconds / length);
    if (count >= 1) return `${count} ${name}${count === 1 ? "" : "s"} ago`;
  }
  return "just now";
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
