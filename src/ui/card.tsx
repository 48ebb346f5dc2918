import type { ComponentProps, ReactNode } from "react";
import { classes } from "./classes.ts";

export function Card({ className, ...props }: ComponentProps<"section">) {
  return <section className={classes("rounded-lg border border-line bg-surface", className)} {...props} />;
}

/** For an empty list: what would be listed, and the next step. */
export function EmptyState({ title, children, action }: { title: string; children: ReactNode; action?: ReactNode }) {
  return (
    <div className="rounded-lg border border-dashed border-line-strong/50 px-6 py-10 text-center">
      <h2 className="font-semibold">{title}</h2>
      <div className="mx-auto mt-1 max-w-md text-soft">{children}</div>
      {action && <div className="mt-5 flex justify-center">{action}</div>}
    </div>
  );
}

/** Figures side by side; on a narrow screen two in a row, or one that needs the whole row. The lines between them are the grid's gaps. */
export function Figures({ className, ...props }: ComponentProps<"dl">) {
  return (
    <dl
      className={classes(
        "flex flex-wrap gap-px overflow-hidden rounded-lg bg-line *:min-w-min *:flex-[1_1_calc(50%-1px)] *:bg-surface lg:*:flex-1",
        className,
      )}
      {...props}
    />
  );
}

/** One figure with its name. */
export function Figure({ label, children, note }: { label: string; children: ReactNode; note?: ReactNode }) {
  return (
    <div className="px-4 py-3 sm:px-5 sm:py-4">
      <dt className="text-sm text-soft">{label}</dt>
      <dd className="mt-1 text-2xl font-semibold tracking-tight tabular-nums">{children}</dd>
      {note && <dd className="mt-0.5 text-sm leading-5 text-soft">{note}</dd>}
    </div>
  );
}

/** Names and values, one below the other. */
export function Facts({ children }: { children: ReactNode }) {
  return <dl className="divide-y divide-line text-sm">{children}</dl>;
}

export function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div className="flex justify-between gap-6 py-2">
      <dt className="shrink-0 text-soft">{name}</dt>
      <dd className="min-w-0 text-right [overflow-wrap:anywhere]">{children}</dd>
    </div>
  );
}
