"use client";

import { useEffect } from "react";

/** Takes a search parameter out of the address once the page has told of it, so that a reload does not tell it again. */
export function ToldOnce({ parameter }: { parameter: string }) {
  useEffect(() => {
    // A moment later the router listens, and goes on from the address as it is then.
    const soon = setTimeout(() => {
      const address = new URL(window.location.href);
      address.searchParams.delete(parameter);
      window.history.replaceState(null, "", address);
    });
    return () => clearTimeout(soon);
  }, [parameter]);
  return null;
}
