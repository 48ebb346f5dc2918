"use client";

import type { QuotaEvent } from "@usequota/core";
import { useEffect, useState } from "react";

const EVERY_MS = 2_000;

/** The events about this user that Quota sent; polled while the list is open. */
export function News({ busy }: { busy: boolean }) {
  const [events, setEvents] = useState<QuotaEvent[] | null>(null);
  const [open, setOpen] = useState(false);
  useEffect(() => {
    if (!open || busy) return;
    let over = false;
    const look = async () => {
      const response = await fetch("/api/news").catch(() => null);
      if (!over && response?.ok) setEvents(((await response.json()) as { events: QuotaEvent[] }).events);
    };
    void look();
    const timer = setInterval(() => void look(), EVERY_MS);
    return () => {
      over = true;
      clearInterval(timer);
    };
  }, [open, busy]);
  return (
    <details className="news" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Webhooks that this app received about you</summary>
      {events === null ? (
        <p className="note">Loading…</p>
      ) : events.length === 0 ? (
        <p className="note">None yet.</p>
      ) : (
        <ul aria-label="Webhooks">
          {events.map((event) => (
            <li key={event.id}>
              <code>{event.type}</code> <span className="note">{told(event)}</span>
            </li>
          ))}
        </ul>
      )}
    </details>
  );
}

function told(event: QuotaEvent): string {
  switch (event.type) {
    case "user.connected":
      return "the wallet was connected";
    case "user.disconnected":
      return `the connection ended (${event.data.reason})`;
    case "usage.completed":
      return `${event.data.total_tokens} tokens of ${event.data.model}, ${event.data.credits_used} credits`;
    case "balance.updated":
      return `${event.data.new_balance} credits left`;
    case "balance.low":
      return `fewer than ${event.data.threshold} credits left`;
    default:
      return "";
  }
}
