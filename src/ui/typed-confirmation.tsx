"use client";

import { useState } from "react";
import { Button } from "./button.tsx";
import { DialogActions } from "./dialog.tsx";
import { FormError, TextField } from "./field.tsx";

type Props = {
  /** What has to be typed, so that nobody does by mistake what cannot be undone. */
  expected: string;
  /** What a button that does it says. */
  action: string;
  /** While it is being done, or is done. */
  busy: boolean;
  /** Why it failed; null as long as it did not. */
  failure: string | null;
  /** For what is the same in capitals and small letters; `expected` is in small ones. */
  ignoreCase?: boolean;
  onConfirm: (typed: string) => void;
  onCancel: () => void;
};

/** The form in a dialog that asks to type the name of what is going to be lost. */
export function TypedConfirmation({ expected, action, busy, failure, ignoreCase = false, onConfirm, onCancel }: Props) {
  const [typed, setTyped] = useState("");
  const meant = (ignoreCase ? typed.trim().toLowerCase() : typed.trim()) === expected;
  return (
    <form
      className="space-y-4"
      onSubmit={(event) => {
        event.preventDefault();
        if (meant) onConfirm(typed);
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
      <DialogActions>
        <Button onClick={onCancel}>Cancel</Button>
        <Button type="submit" kind="danger" disabled={!meant} unavailable={busy}>
          {action}
        </Button>
      </DialogActions>
    </form>
  );
}
