"use client";

import { signIn } from "next-auth/react";
import { useActionState } from "react";
import { Button } from "#ui/button.tsx";
import { FormError, TextField } from "#ui/field.tsx";

type State = { problem: string | null; email: string };

/** `goTo` is a path on this server. */
export function SignInForm({ goTo }: { goTo: string }) {
  const [state, submit, busy] = useActionState(
    async (_: State, form: FormData): Promise<State> => {
      const email = String(form.get("email") ?? "");
      const problem = await attempt(email, String(form.get("password") ?? ""));
      // A full load, so that every page is made anew for the person who signed in.
      if (problem === null) window.location.assign(goTo);
      return { problem, email };
    },
    { problem: null, email: "" },
  );

  return (
    <form action={submit} className="mt-6 space-y-4">
      {state.problem !== null && <FormError>{state.problem}</FormError>}
      <TextField label="Email" name="email" type="email" autoComplete="username" required autoFocus defaultValue={state.email} />
      <TextField label="Password" name="password" type="password" autoComplete="current-password" required />
      <Button type="submit" kind="primary" className="w-full" disabled={busy}>
        {busy ? "Signing in" : "Sign in"}
      </Button>
    </form>
  );
}

/** What is wrong, or null when the person is signed in. */
async function attempt(email: string, password: string): Promise<string | null> {
  try {
    const answer = await signIn("credentials", { email, password, redirect: false });
    if (answer?.ok && !answer.error) return null;
    if (answer?.error === "too_many_attempts") return "Too many attempts. Wait 15 minutes, then try again.";
    if (answer?.error === "CredentialsSignin") return "This email and password do not belong together.";
    return "Signing in did not work because of a fault on our side. Try again in a moment.";
  } catch {
    return "The server did not answer. Check your connection and try again.";
  }
}
