"use client";

import { usePathname } from "next/navigation";
import { type ReactNode, useEffect, useRef } from "react";

/** The pages of a section: a column on a wide screen, on a narrow one a scrolling strip with the current page in view. */
export function NavStrip({ label, children }: { label: string; children: ReactNode }) {
  const path = usePathname();
  const strip = useRef<HTMLElement>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another path has another link to scroll into view.
  useEffect(() => {
    const nav = strip.current;
    const here = nav?.querySelector<HTMLElement>("[aria-current=page]");
    // Sets scrollLeft of the strip: scrollIntoView would scroll the page too.
    if (nav && here) nav.scrollLeft = here.offsetLeft - (nav.clientWidth - here.offsetWidth) / 2;
  }, [path]);
  return (
    <nav
      ref={strip}
      aria-label={label}
      className="relative -mx-4 mt-2 flex overflow-x-auto border-b border-line px-2 pb-2 [scrollbar-width:none] sm:gap-1 sm:px-4 lg:mx-0 lg:mt-4 lg:flex-col lg:border-b-0 lg:px-0"
    >
      {children}
    </nav>
  );
}
