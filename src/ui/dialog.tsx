"use client";

import { X } from "lucide-react";
import { Dialog as Radix } from "radix-ui";
import { type ReactNode, type RefObject, useRef } from "react";

type Props = {
  open: boolean;
  onOpenChange: (open: boolean) => void;
  title: string;
  /** One sentence below the title. */
  description?: ReactNode;
  /** false while closing the dialog would lose something that is shown only once. */
  dismissible?: boolean;
  /** Gets the focus afterwards, when the element that had it before is gone, such as a menu's item or another dialog. */
  returnFocusTo?: RefObject<HTMLElement | null>;
  children: ReactNode;
};

export function Dialog({ open, onOpenChange, title, description, dismissible = true, returnFocusTo, children }: Props) {
  const openedFrom = useRef<Element>(null);
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
            openedFrom.current = document.activeElement;
            focusFirst(event.currentTarget as HTMLElement);
          }}
          onCloseAutoFocus={(event) => {
            // Radix returns the focus only to triggers of its own.
            event.preventDefault();
            const goesBackTo = returnFocusTo?.current ?? openedFrom.current;
            if (goesBackTo instanceof HTMLElement) goesBackTo.focus();
          }}
          {...(description === undefined ? { "aria-describedby": undefined } : {})}
          className="fixed inset-x-0 bottom-0 z-50 max-h-[92dvh] scroll-pt-16 overflow-y-auto outline-none rounded-t-xl border border-line bg-surface p-5 shadow-xl sm:inset-x-auto sm:bottom-auto sm:left-1/2 sm:top-1/2 sm:w-[32rem] sm:-translate-x-1/2 sm:-translate-y-1/2 sm:rounded-xl sm:p-6"
        >
          {/* Sticky, so that a long dialog can be closed from any scroll position. */}
          <div className="sticky -top-5 z-10 -mx-5 -mt-5 -mb-1 flex items-start justify-between gap-4 bg-surface px-5 pb-1 pt-5 sm:-top-6 sm:-mx-6 sm:-mt-6 sm:px-6 sm:pt-6">
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

/** Focuses the first field, or the checked radio button; in a dialog without fields, the dialog itself. */
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
