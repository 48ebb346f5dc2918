import type { ComponentProps } from "react";
import { classes } from "./classes.ts";

/** A wide table scrolls sideways on a narrow screen; on a wide one its head stays in sight. */
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
        "whitespace-nowrap border-b border-line bg-surface px-4 py-2.5 text-left font-medium text-soft first:rounded-tl-lg last:rounded-tr-lg lg:sticky lg:top-0 lg:z-10",
        numeric && "text-right",
        className,
      )}
      {...props}
    />
  );
}

export function Td({ className, numeric = false, ...props }: ComponentProps<"td"> & { numeric?: boolean }) {
  return (
    <td
      className={classes(
        "border-b border-line px-4 py-2.5 align-middle group-last/row:border-b-0",
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
