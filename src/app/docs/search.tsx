"use client";

import { Search as Glass } from "lucide-react";
import dynamic from "next/dynamic";
import { useEffect, useState } from "react";
import { look } from "#ui/button-look.ts";

// Loaded when the search is first opened.
const SearchDialog = dynamic(() => import("./search-dialog.tsx").then((module) => module.SearchDialog), { ssr: false });

/** Searches the sections of all pages while the user types. */
export function Search() {
  const [open, setOpen] = useState(false);
  const [opened, setOpened] = useState(false);
  if (open && !opened) setOpened(true);

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const typing = event.target instanceof HTMLElement && event.target.closest("input, textarea, select, [contenteditable]");
      if ((event.key === "k" && (event.metaKey || event.ctrlKey)) || (event.key === "/" && !typing)) {
        event.preventDefault();
        setOpen(true);
      }
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, []);

  return (
    <>
      <button
        type="button"
        onClick={() => setOpen(true)}
        className={look({ className: "w-full justify-between! px-3! font-normal! text-soft!" })}
        aria-keyshortcuts="Control+K Meta+K /"
      >
        <span className="flex items-center gap-2">
          <Glass size={15} aria-hidden="true" />
          Search
        </span>
        <kbd className="hidden rounded border border-line px-1.5 font-mono text-xs lg:inline">/</kbd>
      </button>
      {opened && <SearchDialog open={open} onOpenChange={setOpen} />}
    </>
  );
}
