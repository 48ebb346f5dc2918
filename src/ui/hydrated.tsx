"use client";

import { useEffect } from "react";

/**
 * Removes `data-hydrating` from the document element after hydration. Before it a button does
 * nothing; browser tests wait for it.
 */
export function Hydrated() {
  useEffect(() => document.documentElement.removeAttribute("data-hydrating"), []);
  return null;
}
