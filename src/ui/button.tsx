import type { VariantProps } from "class-variance-authority";
import { Slot } from "radix-ui";
import type { ComponentProps } from "react";
import { look } from "./button-look.ts";

/**
 * `asChild` lends the look to a link. What `className` says against the look needs Tailwind's
 * `!`: merging would cost every page a library.
 */
export function Button({
  kind,
  size,
  className,
  asChild = false,
  ...props
}: ComponentProps<"button"> & VariantProps<typeof look> & { asChild?: boolean }) {
  const Element = asChild ? Slot.Root : "button";
  return <Element type={asChild ? undefined : "button"} className={look({ kind, size, className })} {...props} />;
}
