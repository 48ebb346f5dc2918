"use client";

import { useActionState } from "react";
import { Button } from "#ui/button.tsx";
import { FormError, TextField } from "#ui/field.tsx";
import { keepTyped } from "#ui/keep-typed.ts";
import { attempt } from "./attempt.ts";

type Props = { goTo: string; problem?: string | null; email?: string | undefined };

/** `goTo` is a path on this server; `problem` is what an attempt elsewhere came to; `email` is whose sign-in is expected. */
export function SignInForm({ goTo, problem = null, email: expected = "" }: Props) {
  const [wrong, submit, busy] = useActionState(async (_: string | null, form: FormData): Promise<string | null> => {
    const problem = await attempt(String(form.get("email") ?? ""), String(form.get("password") ?? ""));
    // A full load, so that every page is made anew for the person who signed in.
    if (problem === null) window.location.assign(goTo);
    return problem;
  }, problem);

  return (
    <form action={submit} onReset={keepTyped} className="mt-6 space-y-4">
      {/* Gone meanwhile, so that it is read out also when it is the same again. */}
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
