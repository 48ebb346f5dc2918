import { classes } from "./classes.ts";

/** Classes of a segmented control of buttons or links. */

export const segmentsLook = "flex w-fit max-w-full flex-wrap gap-0.5 rounded-lg bg-sunken p-0.5";

export function segmentLook(chosen: boolean): string {
  return classes(
    "flex h-8 items-center rounded-md px-3 text-sm font-medium text-soft hover:text-ink",
    chosen && "bg-surface text-ink shadow-xs ring-1 ring-line",
  );
}
