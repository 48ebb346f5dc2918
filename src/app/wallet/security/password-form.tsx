"use client";

import { useActionState } from "react";
import { failureOf, trpc } from "#trpc/client.tsx";
import { Button } from "#ui/button.tsx";
import { FormError, TextField } from "#ui/field.tsx";
import { useKeepFocus } from "#ui/keep-focus.tsx";
import { keepTyped } from "#ui/keep-typed.ts";
import { attempt } from "../../sign-in/attempt.ts";

export function PasswordForm({ email }: { email: string }) {
  const change = trpc.account.changePassword.useMutation();
  const [changes, submit, busy] = useActionState(async (changes: number, form: FormData): Promise<number> => {
    const password = String(form.get("password") ?? "");
    try {
      await change.mutateAsync({ current: String(form.get("current") ?? ""), password });
    } catch {
      // Shown below, from `change.error`.
      return changes;
    }
    // A changed password ended every session, this one too, so the form signs in again.
    if ((await attempt(email, password)) !== null) window.location.assign("/sign-in?callbackUrl=/wallet/security");
    return changes + 1;
  }, 0);
  const failure = failureOf(change.error);
  // The fields are remounted after each change, also a focused one.
  const box = useKeepFocus<HTMLFormElement>();
  return (
    <form ref={box} action={submit} onReset={keepTyped} noValidate className="mt-4 space-y-4 outline-none">
      {failure.message !== null && <FormError>{failure.message}</FormError>}
      {/* For password managers, which store a password under a user name. */}
      <input type="hidden" name="username" autoComplete="username" value={email} readOnly />
      <TextField
        // Emptied after each change, by remounting.
        key={`current ${changes}`}
        label="Current password"
        name="current"
        type="password"
        autoComplete="current-password"
        required
        error={failure.fields.current}
      />
      <TextField
        key={`new ${changes}`}
        label="New password"
        name="password"
        type="password"
        autoComplete="new-password"
        required
        error={failure.fields.password}
        hint={failure.fields.password === undefined ? "At least 10 characters. You are signed out everywhere else." : undefined}
      />
      <div className="flex flex-wrap items-center gap-4">
        <Button type="submit" kind="primary" unavailable={busy}>
          {busy ? "Saving" : "Change password"}
        </Button>
        <p role="status" className="text-sm text-soft">
          {change.isSuccess && !busy && "Changed. Other sessions have ended."}
        </p>
      </div>
    </form>
  );
}
