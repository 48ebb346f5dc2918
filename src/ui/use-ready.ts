"use client";

import { useSyncExternalStore } from "react";

/** False until hydration. Before it a button does nothing, and a choice would be lost. */
export function useReady(): boolean {
  return useSyncExternalStore(
    nothingChanges,
    () => true,
    () => false,
  );
}

const nothingChanges = () => () => {};
