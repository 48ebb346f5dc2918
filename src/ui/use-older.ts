"use client";

import { useState } from "react";

type Page<Item> = { items: Item[]; next: string | null };

/** A list whose first page came with the screen; `showOlder` appends the next page. */
export function useOlder<Item>(first: Page<Item>, read: (cursor: string) => Promise<Page<Item>>) {
  const [older, setOlder] = useState<Page<Item> | null>(null);
  const [state, setState] = useState<"ready" | "loading" | "failed">("ready");
  const next = older === null ? first.next : older.next;

  async function showOlder() {
    if (next === null || state === "loading") return;
    setState("loading");
    try {
      const page = await read(next);
      setOlder((before) => ({ items: [...(before?.items ?? []), ...page.items], next: page.next }));
      setState("ready");
    } catch {
      setState("failed");
    }
  }

  return { items: older === null ? first.items : [...first.items, ...older.items], more: next !== null, state, showOlder };
}
