import { processWide } from "../platform/process-wide.ts";

const nudged = processWide("webhook nudge", (): { listener?: (() => void) | undefined } => ({}));

/**
 * Says that there may be something to deliver, so that it goes out at once and not
 * at the next poll. Nothing depends on it: it may come before the commit, or reach a
 * process that delivers nothing.
 */
export function nudge(): void {
  nudged.listener?.();
}

/** Who is to be nudged from now on; undefined for nobody. */
export function onNudge(listener: (() => void) | undefined): void {
  nudged.listener = listener;
}
