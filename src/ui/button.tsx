import type { VariantProps } from "class-variance-authority";
import { Slot } from "radix-ui";
import type { ComponentProps, MouseEvent } from "react";
import { look } from "./button-look.ts";

/**
 * `unavailable` is for a moment in which pressing it does nothing, such as while it is at work:
 * unlike with `disabled` it keeps the focus, so that whoever pressed it goes on from there.
 * `asChild` lends the look to a link. What `className` says against the look needs Tailwind's
 * `!`: merging would cost every page a library.
 */
export function Button({
  kind,
  size,
  className,
  asChild = false,
  unavailable = false,
  ...props
}: ComponentProps<"button"> & VariantProps<typeof look> & { asChild?: boolean; unavailable?: boolean }) {
  const Element = asChild ? Slot.Root : "button";
  return (
    <Element
      type={asChild ? undefined : "button"}
      className={look({ kind, size, className })}
      {...props}
      {...(unavailable && { "aria-disabled": true, onClick: doNothing })}
    />
  );
}

/** Keeps the form from being sent too: also Enter in a field of it comes as a click on its button. */
function doNothing(event: MouseEvent) {
  event.preventDefault();
}
