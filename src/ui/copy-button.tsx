"use client";

import { useEffect, useState } from "react";
import { look } from "./button-look.ts";

type State = "ready" | "copied" | "failed";
const words: Record<State, string> = { ready: "Copy", copied: "Copied", failed: "Press Ctrl C" };

/** `what` names the text for screen readers. */
export function CopyButton({ text, what, kind = "secondary" }: { text: string; what: string; kind?: "primary" | "secondary" | "quiet" }) {
  const [state, setState] = useState<State>("ready");
  useEffect(() => {
    if (state === "ready") return;
    const timer = setTimeout(() => setState("ready"), 2_000);
    return () => clearTimeout(timer);
  }, [state]);

  async function copy() {
    try {
      await navigator.clipboard.writeText(text);
      setState("copied");
    } catch {
      // Browsers offer the clipboard only in secure contexts; it is missing over http on a network address.
      setState("failed");
    }
  }

  return (
    <button
      type="button"
      className={look({ kind, size: "small", className: "min-w-19" })}
      onClick={copy}
      aria-label={state === "ready" ? `Copy ${what}` : undefined}
    >
      <span aria-live="polite">{words[state]}</span>
    </button>
  );
}
