import type { ReactNode } from "react";
import { classes } from "./classes.ts";

/** Code or other preformatted text. Long lines scroll within it. */
export function CodeBlock({ label, className, children }: { label: string; className?: string; children: ReactNode }) {
  return (
    <section
      aria-label={label}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: a scroll area has to be reachable by keyboard, and not every browser makes it so.
      tabIndex={0}
      className={classes("overflow-x-auto rounded-lg p-4", className)}
    >
      <pre className="font-mono text-[0.8125rem] leading-5">{children}</pre>
    </section>
  );
}
