"use client";

import { useSyncExternalStore } from "react";

/** False until the browser has taken the page over: before that a button would do nothing, and what is chosen would be lost. */
export function useReady(): boolean {
  return useSyncExternalStore(
    nothingChanges,
    () => true,
    () => false,
  );
}

const nothingChanges = () => () => {};
