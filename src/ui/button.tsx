import type { VariantProps } from "class-variance-authority";
import { Slot } from "radix-ui";
import type { ComponentProps, MouseEvent } from "react";
import { look } from "./button-look.ts";

/**
 * `unavailable` is for a time in which pressing the button does nothing, such as while a request runs:
 * unlike `disabled` it keeps the focus, so a keyboard user continues from the button. `asChild` gives
 * the look to a link. A class in `className` that contradicts the look needs Tailwind's `!`: merging
 * classes would add a library to every page.
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

/** Also keeps the form from being sent, because the browser turns Enter in a field into a click on the submit button. */
function doNothing(event: MouseEvent) {
  event.preventDefault();
}
