"use client";

import { useActionState } from "react";
import { failureOf, trpc } from "#trpc/client.tsx";
import { Button } from "#ui/button.tsx";
import { FormError, TextField } from "#ui/field.tsx";
import { KeepFocus } from "#ui/keep-focus.tsx";
import { keepTyped } from "#ui/keep-typed.ts";

export function ForgotForm({ email: known, mailIsPrinted }: { email: string; mailIsPrinted: boolean }) {
  const ask = trpc.account.requestReset.useMutation();
  const [email, submit, busy] = useActionState(async (_: string, form: FormData): Promise<string> => {
    const email = String(form.get("email") ?? "");
    // Shown below, from `ask.error`.
    await ask.mutateAsync({ email }).catch(() => {});
    return email;
  }, known);
  const failure = failureOf(ask.error);
  return (
    <KeepFocus className="mt-6">
      {ask.isSuccess ? (
        <div role="status" className="space-y-4">
          <p>
            {mailIsPrinted && "This server sends no mail yet. "}
            If <span className="font-medium [overflow-wrap:anywhere]">{email.trim()}</span> has an account, a mail with a link is{" "}
            {mailIsPrinted ? "in the server's output" : "on its way"}. The link works once, for an hour.
          </p>
        </div>
      ) : (
        <form action={submit} onReset={keepTyped} noValidate className="space-y-4">
          {failure.message !== null && <FormError>{failure.message}</FormError>}
          <TextField
            label="Email"
            name="email"
            type="email"
            autoComplete="username"
            required
            autoFocus
            defaultValue={email}
            error={failure.fields.email}
          />
          <Button type="submit" kind="primary" className="w-full" unavailable={busy}>
            {busy ? "Sending" : "Send the link"}
          </Button>
        </form>
      )}
    </KeepFocus>
  );
}
