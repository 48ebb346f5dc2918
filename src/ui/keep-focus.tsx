"use client";

import { type ComponentProps, type RefObject, useEffect, useRef } from "react";
import { classes } from "./classes.ts";

/**
 * For places where the focused element may be removed: a row whose button removes it, a button that a
 * form replaces. The focus then moves to the next element, else to the one before, else to this box;
 * without this the browser would move it to the top of the page. Dialogs manage the focus themselves and
 * return it to an element here.
 */
export function KeepFocus({ className, ...props }: ComponentProps<"div">) {
  return <div ref={useKeepFocus<HTMLDivElement>()} className={classes("outline-none", className)} {...props} />;
}

/** `KeepFocus` as a hook, for an element that exists anyway. */
export function useKeepFocus<Box extends HTMLElement>(): RefObject<Box | null> {
  const box = useRef<Box>(null);
  useEffect(() => (box.current === null ? undefined : keepFocusIn(box.current)), []);
  return box;
}

function keepFocusIn(box: HTMLElement): () => void {
  let focused: HTMLElement | null = null;
  /** The focusable elements when the focus was last in the box, in document order. */
  let order: HTMLElement[] = [];

  function remember({ target }: FocusEvent) {
    if (target === box) return;
    focused = target as HTMLElement;
    order = focusableIn(box);
  }

  // Some browsers fire focusout also when the focused element is removed; in a microtask it is no longer connected.
  function leave() {
    queueMicrotask(() => {
      if (focused?.isConnected && document.activeElement !== focused) focused = null;
    });
  }

  const observer = new MutationObserver(() => {
    if (focused === null) return;
    const now = focusableIn(box);
    if (focused.isConnected) {
      order = now;
      return;
    }
    const at = order.indexOf(focused);
    const before = order;
    focused = null;
    if (document.activeElement !== null && document.activeElement !== document.body) return;
    const stayed = (each: HTMLElement) => now.includes(each);
    const successor = before.slice(at + 1).find(stayed) ?? before.slice(0, Math.max(at, 0)).findLast(stayed) ?? now[0];
    if (successor !== undefined) return successor.focus();
    box.tabIndex = -1;
    box.addEventListener("blur", () => box.removeAttribute("tabindex"), { once: true });
    box.focus();
  });

  box.addEventListener("focusin", remember);
  box.addEventListener("focusout", leave);
  observer.observe(box, { childList: true, subtree: true });
  return () => {
    box.removeEventListener("focusin", remember);
    box.removeEventListener("focusout", leave);
    observer.disconnect();
  };
}

function focusableIn(box: HTMLElement): HTMLElement[] {
  return [...box.querySelectorAll<HTMLElement>("a[href], button, input, select, textarea, summary, [tabindex]")].filter(
    (each) => each.tabIndex >= 0 && !each.matches(":disabled") && each.getClientRects().length > 0,
  );
}
