import { cva, type VariantProps } from "class-variance-authority";
import { Slot } from "radix-ui";
import type { ComponentProps } from "react";

const look = cva(
  "inline-flex shrink-0 items-center justify-center gap-2 whitespace-nowrap rounded-md font-medium transition-colors disabled:cursor-not-allowed disabled:opacity-55",
  {
    variants: {
      /** `primary` is for the one action that matters on a screen. */
      kind: {
        primary: "bg-accent text-on-accent hover:bg-accent-hover",
        secondary: "border border-line-strong/60 bg-surface text-ink hover:bg-sunken",
        quiet: "text-soft hover:bg-sunken hover:text-ink",
        danger: "bg-danger text-on-danger hover:bg-danger-hover",
      },
      size: {
        regular: "h-10 px-4 text-sm",
        small: "h-8 px-3 text-sm",
      },
    },
    defaultVariants: { kind: "secondary", size: "regular" },
  },
);

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
