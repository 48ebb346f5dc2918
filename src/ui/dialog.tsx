"use client";

import { X } from "lucide-react";
import { Dialog as Radix } from "radix-ui";
import type { ReactNode, RefObject } from "react";

type Props = {
  open: boolean;
  onOpenChange: (open: boolean) => void;
  title: string;
  /** One sentence below the title. */
  description?: ReactNode;
  /** false while closing by accident would lose something that can't be had again. */
  dismissible?: boolean;
  /** What gets the focus afterwards, where what had it before is gone, such as the item of a menu. */
  returnFocusTo?: RefObject<HTMLElement | null>;
  children: ReactNode;
};

export function Dialog({ open, onOpenChange, title, description, dismissible = true, returnFocusTo, children }: Props) {
  const keep = dismissible ? undefined : (event: Event) => event.preventDefault();
  return (
    <Radix.Root open={open} onOpenChange={onOpenChange}>
      <Radix.Portal>
        <Radix.Overlay className="fixed inset-0 z-40 bg-veil" />
        <Radix.Content
          onEscapeKeyDown={keep}
          onPointerDownOutside={keep}
          onInteractOutside={keep}
          onOpenAutoFocus={(event) => {
            event.preventDefault();
            focusFirst(event.currentTarget as HTMLElement);
          }}
          onCloseAutoFocus={(event) => {
            if (!returnFocusTo?.current) return;
            event.preventDefault();
            returnFocusTo.current.focus();
          }}
          {...(description === undefined ? { "aria-describedby": undefined } : {})}
          className="fixed inset-x-0 bottom-0 z-50 max-h-[92dvh] overflow-y-auto outline-none rounded-t-xl border border-line bg-surface p-5 shadow-xl sm:inset-x-auto sm:bottom-auto sm:left-1/2 sm:top-1/2 sm:w-[32rem] sm:-translate-x-1/2 sm:-translate-y-1/2 sm:rounded-xl sm:p-6"
        >
          <div className="flex items-start justify-between gap-4">
            <Radix.Title className="text-lg font-semibold tracking-tight [overflow-wrap:anywhere]">{title}</Radix.Title>
            {dismissible && (
              <Radix.Close aria-label="Close" className="-m-1.5 rounded-md p-1.5 text-soft hover:bg-sunken hover:text-ink">
                <X size={18} aria-hidden="true" />
              </Radix.Close>
            )}
          </div>
          {description !== undefined && (
            <Radix.Description className="mt-1 text-soft [overflow-wrap:anywhere]">{description}</Radix.Description>
          )}
          <div className="mt-5">{children}</div>
        </Radix.Content>
      </Radix.Portal>
    </Radix.Root>
  );
}

/** Where one goes on: the first field, or the answer given so far; in a dialog that is only read, the dialog itself. */
function focusFirst(dialog: HTMLElement): void {
  const fields = [...dialog.querySelectorAll<HTMLInputElement>("input:not([type=hidden]), select, textarea")].filter(
    (field) => !field.disabled,
  );
  const [first] = fields;
  const chosen = first?.type === "radio" ? fields.find(({ name, checked }) => name === first.name && checked) : undefined;
  (chosen ?? first ?? dialog).focus({ preventScroll: true });
}

/** Cancel on the left, the action on the right; on a narrow screen the action is on top. */
export function DialogActions({ children }: { children: ReactNode }) {
  return <div className="mt-6 flex flex-col-reverse gap-2 sm:flex-row sm:justify-end">{children}</div>;
}
