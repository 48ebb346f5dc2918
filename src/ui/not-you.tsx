"use client";

import { signOut } from "next-auth/react";
import { useState } from "react";

/** Signs out and asks who it is; then they come back to `page`. */
export function NotYou({ page }: { page: string }) {
  const [busy, setBusy] = useState(false);
  async function change() {
    setBusy(true);
    try {
      await signOut({ redirect: false });
      window.location.assign(`/sign-in?callbackUrl=${encodeURIComponent(page)}`);
    } catch {
      setBusy(false);
    }
  }
  return (
    <button type="button" className="prose-link rounded" onClick={change} disabled={busy}>
      not you?
    </button>
  );
}
