"use client";

import { signOut } from "next-auth/react";
import { type ReactNode, useState } from "react";
import { Button } from "./button.tsx";

/** Signs out and leads to the sign-in page, which returns to `page`. */
export function NotYou({ page, look = "link", children }: { page: string; look?: "link" | "button"; children: ReactNode }) {
  const [busy, setBusy] = useState(false);
  async function change() {
    if (busy) return;
    setBusy(true);
    try {
      await signOut({ redirect: false });
      window.location.assign(`/sign-in?callbackUrl=${encodeURIComponent(page)}`);
    } catch {
      setBusy(false);
    }
  }
  if (look === "button") {
    return (
      <Button onClick={change} unavailable={busy}>
        {children}
      </Button>
    );
  }
  return (
    <button type="button" className="prose-link rounded" onClick={change} aria-disabled={busy}>
      {children}
    </button>
  );
}
