"use client";

import { useEffect } from "react";

/**
 * Takes `data-hydrating` off the document when the browser has taken the page over.
 * Before that a button does nothing; whoever drives the page by program can wait for it.
 */
export function Hydrated() {
  useEffect(() => document.documentElement.removeAttribute("data-hydrating"), []);
  return null;
}
