"use client";

import type { ReactNode } from "react";
import { classes } from "./classes.ts";
import { useKeepFocus } from "./keep-focus.tsx";
import { useReady } from "./use-ready.ts";

/**
 * The fields of a server-rendered form. They are disabled until hydration, because React would not
 * see what is typed before; they look the same. When a focused field or button is removed, the focus
 * moves to the next one (`useKeepFocus`).
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
