"use client";

import { useActionState } from "react";
import { failureOf, trpc } from "#trpc/client.tsx";
import { Button } from "#ui/button.tsx";
import { FormError, TextField } from "#ui/field.tsx";
import { keepTyped } from "#ui/keep-typed.ts";
import { attempt } from "../../sign-in/attempt.ts";

export function ResetForm({ token }: { token: string }) {
  const reset = trpc.account.resetPassword.useMutation();
  const [, submit, busy] = useActionState(async (_: null, form: FormData): Promise<null> => {
    const password = String(form.get("password") ?? "");
    try {
      const { email } = await reset.mutateAsync({ token, password });
      const problem = await attempt(email, password);
      window.location.assign(problem === null ? "/wallet" : "/sign-in");
    } catch {
      // Shown below, from `reset.error`.
    }
    return null;
  }, null);
  const failure = failureOf(reset.error);
  return (
    <form action={submit} onReset={keepTyped} noValidate className="mt-6 space-y-4">
      {failure.message !== null && <FormError>{failure.message}</FormError>}
      <TextField
        label="New password"
        name="password"
        type="password"
        autoComplete="new-password"
        required
        autoFocus
        error={failure.fields.password}
        hint={failure.fields.password === undefined ? "At least 10 characters." : undefined}
      />
      <Button type="submit" kind="primary" className="w-full" unavailable={busy}>
        {busy ? "Saving" : "Save and sign in"}
      </Button>
    </form>
  );
}
