"use client";

import type { ReactNode, RefObject } from "react";
import { Button } from "./button.tsx";
import { CopyBox, ShownOnce } from "./copy-box.tsx";
import { Dialog, DialogActions } from "./dialog.tsx";

type Props = {
  title: string;
  /** The secret's name within a sentence: `this key`. */
  what: string;
  label: string;
  secret: string;
  onSaved: () => void;
  /** Gets the focus after closing, when the page stays. */
  returnFocusTo?: RefObject<HTMLElement | null>;
  children?: ReactNode;
};

/** Shows a secret that is shown once. Only the button closes the dialog, because the secret cannot be shown again. */
export function SecretDialog({ title, what, label, secret, onSaved, returnFocusTo, children }: Props) {
  return (
    <Dialog open onOpenChange={() => {}} dismissible={false} returnFocusTo={returnFocusTo} title={title}>
      <div className="space-y-4">
        <ShownOnce what={what} />
        <CopyBox label={label} text={secret} />
        {children}
      </div>
      <DialogActions>
        <Button kind="primary" onClick={onSaved}>
          I have saved it
        </Button>
      </DialogActions>
    </Dialog>
  );
}
