import type { FormEvent } from "react";

/**
 * For the `onReset` of a form with an action: React resets such a form when its action has ended,
 * also when the server refused the input and the user only has to correct it.
 */
export function keepTyped(event: FormEvent<HTMLFormElement>): void {
  event.preventDefault();
}
