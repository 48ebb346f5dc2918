"use client";

import { useActionState, useEffect, useState } from "react";
import { failureOf, trpc } from "#trpc/client.tsx";
import { Button } from "#ui/button.tsx";
import { FormError, TextField } from "#ui/field.tsx";
import { keepTyped } from "#ui/keep-typed.ts";
import { attempt } from "../../sign-in/attempt.ts";
import { ProviderButtons } from "../../sign-in/provider-buttons.tsx";
import { forgetStarted, keepStarted, keptStarted, type Started } from "./started.ts";

/** Two steps: email and password, then the code from the mail. `goTo` is a path on this server. */
export function SignUpForm({
  goTo,
  providers,
  mailIsPrinted,
}: {
  goTo: string;
  providers: ("google" | "github")[];
  mailIsPrinted: boolean;
}) {
  const [started, setStarted] = useState<Started | null>(null);
  const [email, setEmail] = useState("");
  /** null after the page was loaded again. */
  const [password, setPassword] = useState<string | null>(null);

  useEffect(() => {
    const kept = keptStarted();
    if (kept === null) return;
    setEmail(kept.email);
    setStarted(kept);
  }, []);

  if (started === null) {
    return (
      <>
        <ProviderButtons providers={providers} goTo={goTo} />
        <WhoForm
          email={email}
          onStarted={(next, password) => {
            keepStarted(next);
            setEmail(next.email);
            setPassword(password);
            setStarted(next);
          }}
        />
      </>
    );
  }
  return (
    <CodeForm
      started={started}
      password={password}
      goTo={goTo}
      mailIsPrinted={mailIsPrinted}
      onBack={() => {
        forgetStarted();
        setStarted(null);
      }}
    />
  );
}

function WhoForm({ email: before, onStarted }: { email: string; onStarted: (started: Started, password: string) => void }) {
  const start = trpc.account.startSignUp.useMutation();
  const [, submit, busy] = useActionState(async (_: null, form: FormData): Promise<null> => {
    const email = String(form.get("email") ?? "");
    const password = String(form.get("password") ?? "");
    try {
      const { signUpId } = await start.mutateAsync({ email, password });
      onStarted({ signUpId, email: email.trim() }, password);
    } catch {
      // Shown below, from `start.error`.
    }
    return null;
  }, null);
  const failure = failureOf(start.error);
  return (
    <form action={submit} onReset={keepTyped} noValidate className="mt-6 space-y-4">
      {failure.message !== null && <FormError>{failure.message}</FormError>}
      <TextField
        label="Email"
        name="email"
        type="email"
        autoComplete="username"
        required
        autoFocus
        defaultValue={before}
        error={failure.fields.email}
      />
      <TextField
        label="Password"
        name="password"
        type="password"
        autoComplete="new-password"
        required
        error={failure.fields.password}
        hint={failure.fields.password === undefined ? "At least 10 characters." : undefined}
      />
      <Button type="submit" kind="primary" className="w-full" unavailable={busy}>
        {busy ? "Sending the code" : "Continue"}
      </Button>
    </form>
  );
}

type CodeProps = { started: Started; password: string | null; goTo: string; mailIsPrinted: boolean; onBack: () => void };

function CodeForm({ started, password, goTo, mailIsPrinted, onBack }: CodeProps) {
  const finish = trpc.account.finishSignUp.useMutation();
  const [, submit, busy] = useActionState(async (_: null, form: FormData): Promise<null> => {
    try {
      await finish.mutateAsync({ signUpId: started.signUpId, code: String(form.get("code") ?? "") });
    } catch {
      // Shown below, from `finish.error`.
      return null;
    }
    forgetStarted();
    const signedIn = password !== null && (await attempt(started.email, password)) === null;
    // A full page load, so that every page is rendered for the signed-in user.
    window.location.assign(signedIn ? goTo : `/sign-in?callbackUrl=${encodeURIComponent(goTo)}`);
    return null;
  }, null);
  const failure = failureOf(finish.error);
  return (
    <form action={submit} onReset={keepTyped} noValidate className="mt-6 space-y-4">
      {failure.message !== null && <FormError>{failure.message}</FormError>}
      <p role="status">
        {mailIsPrinted ? "This server sends no mail yet: its output has the one to " : "We sent a mail to "}
        <span className="font-medium [overflow-wrap:anywhere]">{started.email}</span>. Type the code that is in it
        {password === null && ", then sign in with the password that you chose"}.
      </p>
      <TextField
        label="Code"
        name="code"
        inputMode="numeric"
        autoComplete="one-time-code"
        required
        autoFocus
        error={failure.fields.code}
        className="font-mono"
        placeholder="0000 0000"
      />
      <Button type="submit" kind="primary" className="w-full" unavailable={busy}>
        {busy ? "Opening the wallet" : "Open my wallet"}
      </Button>
      <Button kind="quiet" className="w-full" onClick={onBack} unavailable={busy}>
        Use another address, or send it again
      </Button>
    </form>
  );
}
