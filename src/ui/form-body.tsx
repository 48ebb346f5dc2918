"use client";

import type { ReactNode } from "react";
import { classes } from "./classes.ts";
import { useKeepFocus } from "./keep-focus.tsx";
import { useReady } from "./use-ready.ts";

/**
 * The fields of a form that was painted by the server. Until the browser has taken over
 * they can't be typed into, because nobody would hear of it; they look no different.
 * A field or button that goes hands its focus on.
 */
export function FormBody({ className, children }: { className?: string; children: ReactNode }) {
  const ready = useReady();
  return (
    <fieldset
      ref={useKeepFocus<HTMLFieldSetElement>()}
      disabled={!ready}
      className={classes("min-w-0 outline-none", className, !ready && "[&_:disabled]:opacity-100!")}
    >
      {children}
    </fieldset>
  );
}
