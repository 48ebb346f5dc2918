import type { ReactNode } from "react";
import { classes } from "./classes.ts";

const tones = {
  plain: "bg-sunken text-soft",
  good: "bg-accent-wash text-accent",
  warning: "bg-warning-wash text-warning",
  bad: "bg-danger-wash text-danger",
};

export function Badge({ tone = "plain", children }: { tone?: keyof typeof tones; children: ReactNode }) {
  return (
    <span className={classes("inline-flex whitespace-nowrap rounded px-1.5 text-xs font-medium leading-5", tones[tone])}>{children}</span>
  );
}
