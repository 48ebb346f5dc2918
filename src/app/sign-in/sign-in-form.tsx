"use client";

import { useActionState } from "react";
import { Button } from "#ui/button.tsx";
import { FormError, TextField } from "#ui/field.tsx";
import { keepTyped } from "#ui/keep-typed.ts";
import { attempt } from "./attempt.ts";

type Props = { goTo: string; problem?: string | null; email?: string | undefined };

/** `goTo` is a path on this server; `problem` is the error of an attempt through a provider; `email` is the expected user's. */
export function SignInForm({ goTo, problem = null, email: expected = "" }: Props) {
  const [wrong, submit, busy] = useActionState(async (_: string | null, form: FormData): Promise<string | null> => {
    const problem = await attempt(String(form.get("email") ?? ""), String(form.get("password") ?? ""));
    // A full page load, so that every page is rendered for the signed-in user.
    if (problem === null) window.location.assign(goTo);
    return problem;
  }, problem);

  return (
    <form action={submit} onReset={keepTyped} className="mt-6 space-y-4">
      {/* Removed while a request runs, so that a screen reader reads the same error again. */}
      {wrong !== null && !busy && <FormError>{wrong}</FormError>}
      <TextField
        label="Email"
        name="email"
        type="email"
        autoComplete="username"
        required
        autoFocus={expected === ""}
        defaultValue={expected}
      />
      <TextField label="Password" name="password" type="password" autoComplete="current-password" required autoFocus={expected !== ""} />
      <Button type="submit" kind="primary" className="w-full" unavailable={busy}>
        {busy ? "Signing in" : "Sign in"}
      </Button>
    </form>
  );
}
