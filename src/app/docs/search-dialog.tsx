"use client";

import type MiniSearch from "minisearch";
import { useRouter } from "next/navigation";
import { useEffect, useId, useRef, useState } from "react";
import { classes } from "#ui/classes.ts";
import { Dialog } from "#ui/dialog.tsx";

/** A section in the index; see search.json/route.ts. */
type Entry = { id: string; path: string; page: string; title: string; text: string };
type Found = Pick<Entry, "id" | "path" | "page" | "title" | "text">;

/** The search's dialog. */
export function SearchDialog({ open, onOpenChange: setOpen }: { open: boolean; onOpenChange: (open: boolean) => void }) {
  const router = useRouter();
  const id = useId();
  const [text, setText] = useState("");
  const [index, setIndex] = useState<MiniSearch<Entry> | "failed" | null>(null);
  const [chosen, setChosen] = useState(0);
  const list = useRef<HTMLDivElement>(null);

  useEffect(() => {
    if (!open || (index !== null && index !== "failed")) return;
    let gone = false;
    loadIndex().then(
      (loaded) => !gone && setIndex(loaded),
      () => !gone && setIndex("failed"),
    );
    return () => {
      gone = true;
    };
  }, [open, index]);

  const words = text.trim();
  const found: Found[] =
    index === null || index === "failed" || words === "" ? [] : (index.search(words) as unknown as Found[]).slice(0, 12);
  const current = Math.min(chosen, found.length - 1);

  function go(to: Found | undefined) {
    if (to === undefined) return;
    setOpen(false);
    setText("");
    router.push(to.path);
  }

  function move(by: number) {
    const next = (current + by + found.length) % Math.max(found.length, 1);
    setChosen(next);
    list.current?.children[next]?.scrollIntoView({ block: "nearest" });
  }

  return (
    <Dialog open={open} onOpenChange={setOpen} title="Search the documentation">
      <input
        autoFocus
        type="search"
        role="combobox"
        aria-label="Search the documentation"
        aria-expanded={found.length > 0}
        aria-controls={id}
        aria-activedescendant={found.length > 0 ? `${id}-${current}` : undefined}
        placeholder="spending limit, X-Quota-User, 402 …"
        value={text}
        onChange={(event) => {
          setText(event.target.value);
          setChosen(0);
        }}
        onKeyDown={(event) => {
          if (event.key === "ArrowDown" || event.key === "ArrowUp") {
            event.preventDefault();
            move(event.key === "ArrowDown" ? 1 : -1);
          }
          if (event.key === "Enter") go(found[current]);
        }}
        className="h-10 w-full rounded-md border border-line-strong/70 bg-surface px-3 text-ink placeholder:text-soft/80"
      />
      <p aria-live="polite" className={found.length > 0 ? "sr-only" : "mt-3 text-sm text-soft"}>
        {index === "failed"
          ? "The search could not be loaded. Close this and try again."
          : words === ""
            ? "Type a word, a header, or an error code."
            : index === null
              ? "Loading …"
              : found.length === 0
                ? `Nothing about “${words}”.`
                : `${found.length} found`}
      </p>
      <div ref={list} id={id} role="listbox" aria-label="Results" tabIndex={-1} className="mt-3 max-h-[55dvh] overflow-y-auto">
        {found.map((entry, n) => (
          // biome-ignore lint/a11y/useKeyWithClickEvents: the input keeps the focus and handles the keys.
          <div
            key={entry.id}
            id={`${id}-${n}`}
            role="option"
            tabIndex={-1}
            aria-selected={n === current}
            onClick={() => go(entry)}
            className={classes("cursor-pointer rounded-md px-3 py-2", n === current ? "bg-accent-wash" : "hover:bg-sunken")}
          >
            <span className="block text-sm font-medium">
              {entry.title}
              {entry.page !== entry.title && <span className="font-normal text-soft"> · {entry.page}</span>}
            </span>
            <span className="line-clamp-2 text-[0.8125rem] leading-5 text-soft">{around(entry.text, words)}</span>
          </div>
        ))}
      </div>
    </Dialog>
  );
}

async function loadIndex(): Promise<MiniSearch<Entry>> {
  const [{ default: Index }, response] = await Promise.all([import("minisearch"), fetch("/docs/search.json")]);
  if (!response.ok) throw new Error(`The index answered ${response.status}.`);
  const index = new Index<Entry>({
    fields: ["title", "page", "text"],
    storeFields: ["path", "page", "title", "text"],
    // Error codes and headers are indexed whole and by their parts.
    tokenize: (text) =>
      text.split(/[\s.,;:()[\]{}"'`/|]+/u).flatMap((word) => (/[-_]/.test(word) ? [word, ...word.split(/[-_]/)] : [word])),
    searchOptions: { prefix: true, fuzzy: 0.15, combineWith: "AND", boost: { title: 4, page: 2 } },
  });
  index.addAll((await response.json()) as Entry[]);
  return index;
}

/** The text around the first searched word. */
function around(text: string, words: string): string {
  const at = text.toLowerCase().indexOf(words.split(/\s+/)[0]?.toLowerCase() ?? "");
  const from = Math.max(0, at - 50);
  return `${from > 0 ? "… " : ""}${text.slice(from, from + 180)}`;
}
