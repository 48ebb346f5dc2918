"use client";

import { useEffect } from "react";

const QUESTION = "What you changed is not saved yet. Leave this page without it?";

/** Asks before a page with unsaved changes is left: by a link, by another address, or by closing the tab. */
export function useLeaveQuestion(unsaved: boolean): void {
  useEffect(() => {
    if (!unsaved) return;
    let answered = false;

    function follow(event: MouseEvent) {
      if (!leadsAway(event) || answered) return;
      answered = window.confirm(QUESTION);
      if (answered) return;
      event.preventDefault();
      event.stopPropagation();
    }

    // The browser shows a text of its own.
    function unload(event: BeforeUnloadEvent) {
      if (!answered) event.preventDefault();
    }

    // In the capture phase, before the router's listener.
    document.addEventListener("click", follow, { capture: true });
    window.addEventListener("beforeunload", unload);
    return () => {
      document.removeEventListener("click", follow, { capture: true });
      window.removeEventListener("beforeunload", unload);
    };
  }, [unsaved]);
}

/** Whether a click opens another page of this site in this tab. For other sites the browser asks (`beforeunload`). */
function leadsAway(event: MouseEvent): boolean {
  if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return false;
  const link = event.target instanceof Element ? event.target.closest("a") : null;
  if (link === null || link.href === "" || (link.target !== "" && link.target !== "_self") || link.hasAttribute("download")) return false;
  const to = new URL(link.href);
  const here = window.location;
  return to.origin === here.origin && (to.pathname !== here.pathname || to.search !== here.search);
}
