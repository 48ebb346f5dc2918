"use client";

import { useState } from "react";
import { Button } from "./button.tsx";
import { DialogActions } from "./dialog.tsx";
import { FormError, TextField } from "./field.tsx";

type Props = {
  /** The text that has to be typed, against doing something irreversible by mistake. */
  expected: string;
  /** The label of the confirming button. */
  action: string;
  /** Whether the action runs or has succeeded. */
  busy: boolean;
  /** Why the action failed; null when it did not. */
  failure: string | null;
  /** Whether upper case counts as lower case; `expected` is lower case then. */
  ignoreCase?: boolean;
  /** What the user has to show in addition: the password, or a new sign-in at `signInAt`. */
  proof?: { needed: "password" | "sign-in" | null; signInAt: string };
  onConfirm: (typed: string, password: string | undefined) => void;
  onCancel: () => void;
};

/** The form of a dialog that asks to type the name of the thing to delete. */
export function TypedConfirmation({ expected, action, busy, failure, ignoreCase = false, proof, onConfirm, onCancel }: Props) {
  const [typed, setTyped] = useState("");
  const [password, setPassword] = useState("");
  const needed = proof?.needed ?? null;
  const meant = (ignoreCase ? typed.trim().toLowerCase() : typed.trim()) === expected && (needed !== "password" || password !== "");
  if (needed === "sign-in") {
    return (
      <div className="space-y-4">
        <p className="text-soft">
          To show that it is you, sign in again first. You come back to this page, and then have ten minutes to go on.
        </p>
        <DialogActions>
          <Button onClick={onCancel}>Cancel</Button>
          <Button asChild kind="primary">
            <a href={proof?.signInAt}>Sign in again</a>
          </Button>
        </DialogActions>
      </div>
    );
  }
  return (
    <form
      className="space-y-4"
      onSubmit={(event) => {
        event.preventDefault();
        if (meant && !busy) onConfirm(typed, needed === "password" ? password : undefined);
      }}
    >
      {failure !== null && <FormError>{failure}</FormError>}
      <TextField
        label={`Type ${expected} to go on`}
        value={typed}
        onChange={(event) => setTyped(event.target.value)}
        autoComplete="off"
        spellCheck={false}
      />
      {needed === "password" && (
        <TextField
          label="Your password"
          type="password"
          name="password"
          autoComplete="current-password"
          required
          value={password}
          onChange={(event) => setPassword(event.target.value)}
        />
      )}
      <DialogActions>
        <Button onClick={onCancel}>Cancel</Button>
        <Button type="submit" kind="danger" disabled={!meant} unavailable={busy}>
          {action}
        </Button>
      </DialogActions>
    </form>
  );
}
