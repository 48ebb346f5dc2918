"use client";

import { useActionState } from "react";
import { Button } from "#ui/button.tsx";
import { FormError, TextField } from "#ui/field.tsx";
import { attempt } from "./attempt.ts";

type State = { problem: string | null; email: string };

type Props = { goTo: string; problem?: string | null; email?: string | undefined };

/** `goTo` is a path on this server; `problem` is what an attempt elsewhere came to; `email` is whose sign-in is expected. */
export function SignInForm({ goTo, problem = null, email: expected = "" }: Props) {
  const [state, submit, busy] = useActionState(
    async (_: State, form: FormData): Promise<State> => {
      const email = String(form.get("email") ?? "");
      const problem = await attempt(email, String(form.get("password") ?? ""));
      // A full load, so that every page is made anew for the person who signed in.
      if (problem === null) window.location.assign(goTo);
      return { problem, email };
    },
    { problem, email: expected },
  );

  return (
    <form action={submit} className="mt-6 space-y-4">
      {state.problem !== null && <FormError>{state.problem}</FormError>}
      <TextField
        label="Email"
        name="email"
        type="email"
        autoComplete="username"
        required
        autoFocus={expected === ""}
        defaultValue={state.email}
      />
      <TextField label="Password" name="password" type="password" autoComplete="current-password" required autoFocus={expected !== ""} />
      <Button type="submit" kind="primary" className="w-full" unavailable={busy}>
        {busy ? "Signing in" : "Sign in"}
      </Button>
    </form>
  );
}
