"use client";

import { signOut } from "next-auth/react";
import { useState } from "react";
import { Button } from "./button.tsx";

export function SignOutButton() {
  const [busy, setBusy] = useState(false);
  async function leave() {
    setBusy(true);
    try {
      await signOut({ redirect: false });
      // A full load, so that nothing of the session stays in memory.
      window.location.assign("/");
    } catch {
      setBusy(false);
    }
  }
  return (
    <Button kind="quiet" size="small" onClick={leave} disabled={busy}>
      Sign out
    </Button>
  );
}
