"use client";

import { useState } from "react";
import { look } from "./button-look.ts";
import { useReady } from "./use-ready.ts";

export function SignOutButton() {
  const ready = useReady();
  const [busy, setBusy] = useState(false);
  async function leave() {
    if (busy) return;
    setBusy(true);
    try {
      // Imported on the click: every page has this button, and it is seldom pressed.
      const { signOut } = await import("next-auth/react");
      await signOut({ redirect: false });
      // A full page load, so that no data of the session stays in memory.
      window.location.assign("/");
    } catch {
      setBusy(false);
    }
  }
  return (
    <button type="button" className={look({ kind: "quiet", size: "small" })} onClick={leave} aria-disabled={busy} disabled={!ready}>
      Sign out
    </button>
  );
}
