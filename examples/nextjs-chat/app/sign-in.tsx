"use client";

import { useActionState } from "react";
import { enter } from "./actions.ts";

export function SignIn() {
  const [problem, act, busy] = useActionState(enter, null);
  return (
    <main className="entry">
      <form action={act} className="card">
        <h1>Acme Chat</h1>
        <p className="soft">A chat that costs us nothing: you pay for your own answers, from a wallet that is yours.</p>
        <label htmlFor="name">Your name</label>
        <input id="name" name="name" autoComplete="given-name" maxLength={40} required aria-describedby="note" />
        <p id="note" className="note">
          An example has no passwords. Whoever writes the same name is the same person here.
        </p>
        <p role="alert" className="problem">
          {problem}
        </p>
        <button type="submit" className="primary" disabled={busy}>
          {busy ? "Signing in…" : "Sign in"}
        </button>
      </form>
    </main>
  );
}
