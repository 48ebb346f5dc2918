import type { FormEvent } from "react";

/**
 * For the `onReset` of a form with an action: React empties such a form when its action has
 * ended, also when what was typed was refused and only has to be corrected.
 */
export function keepTyped(event: FormEvent<HTMLFormElement>): void {
  event.preventDefault();
}
