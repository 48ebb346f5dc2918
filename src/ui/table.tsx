import { ArrowDown, ArrowUp, ChevronsUpDown } from "lucide-react";
import type { ComponentProps } from "react";
import { classes } from "./classes.ts";

/** Scrolls sideways on a narrow screen; on a wide one the head is sticky. */
export function Table({ className, label, ...props }: ComponentProps<"table"> & { label: string }) {
  return (
    <div className="overflow-x-auto rounded-lg border border-line bg-surface lg:overflow-x-visible">
      <table aria-label={label} className={classes("w-full border-separate border-spacing-0 text-sm", className)} {...props} />
    </div>
  );
}

export function Th({ className, numeric = false, ...props }: ComponentProps<"th"> & { numeric?: boolean }) {
  return (
    <th
      scope="col"
      className={classes(
        "whitespace-nowrap border-b border-line bg-surface px-3 py-2.5 text-left sm:px-4 font-medium text-soft first:rounded-tl-lg last:rounded-tr-lg lg:sticky lg:top-0 lg:z-10",
        numeric && "text-right",
        className,
      )}
      {...props}
    />
  );
}

/** The head of a sortable column. */
export function SortTh({
  sorted,
  onSort,
  children,
  ...props
}: ComponentProps<typeof Th> & { sorted: false | "asc" | "desc"; onSort: () => void }) {
  const Arrow = sorted === "asc" ? ArrowUp : sorted === "desc" ? ArrowDown : ChevronsUpDown;
  return (
    <Th aria-sort={sorted === false ? "none" : sorted === "asc" ? "ascending" : "descending"} {...props}>
      <button type="button" onClick={onSort} className="-mx-1.5 inline-flex items-center gap-1 rounded px-1.5 hover:text-ink">
        {children}
        <Arrow size={14} aria-hidden="true" className={sorted === false ? "opacity-50" : "text-ink"} />
      </button>
    </Th>
  );
}

export function Td({ className, numeric = false, ...props }: ComponentProps<"td"> & { numeric?: boolean }) {
  return (
    <td
      className={classes(
        "border-b border-line px-3 py-2.5 align-middle sm:px-4 group-last/row:border-b-0",
        numeric && "text-right tabular-nums",
        className,
      )}
      {...props}
    />
  );
}

export function Tr({ className, ...props }: ComponentProps<"tr">) {
  return <tr className={classes("group/row", className)} {...props} />;
}
