"use client";

import { useEffect } from "react";

/** Removes a search parameter from the address once the page has shown its message, so that a reload does not show it again. */
export function ToldOnce({ parameter }: { parameter: string }) {
  useEffect(() => {
    // In a timeout, after the router has started to listen to `replaceState`, so that it takes the new address over.
    const soon = setTimeout(() => {
      const address = new URL(window.location.href);
      address.searchParams.delete(parameter);
      window.history.replaceState(null, "", address);
    });
    return () => clearTimeout(soon);
  }, [parameter]);
  return null;
}
