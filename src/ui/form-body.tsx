"use client";

import { type ReactNode, useSyncExternalStore } from "react";
import { classes } from "./classes.ts";

/**
 * The fields of a form that was painted by the server. Until the browser has taken over
 * they can't be typed into, because nobody would hear of it; they look no different.
 */
export function FormBody({ className, children }: { className?: string; children: ReactNode }) {
  const listening = useSyncExternalStore(
    nothingChanges,
    () => true,
    () => false,
  );
  return (
    <fieldset disabled={!listening} className={classes("min-w-0", className, !listening && "[&_:disabled]:opacity-100!")}>
      {children}
    </fieldset>
  );
}

const nothingChanges = () => () => {};
