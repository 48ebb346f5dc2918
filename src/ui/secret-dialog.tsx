"use client";

import type { ReactNode, RefObject } from "react";
import { Button } from "./button.tsx";
import { CopyBox, ShownOnce } from "./copy-box.tsx";
import { Dialog, DialogActions } from "./dialog.tsx";

type Props = {
  title: string;
  /** What it is, in a sentence: `this key`. */
  what: string;
  label: string;
  secret: string;
  onSaved: () => void;
  /** What gets the focus afterwards, where the page stays. */
  returnFocusTo?: RefObject<HTMLElement | null>;
  children?: ReactNode;
};

/** A secret on its one appearance. Only the button closes it, because what is lost here can't be had again. */
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
