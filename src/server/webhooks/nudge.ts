import { processWide } from "../platform/process-wide.ts";

const nudged = processWide("webhook nudge", (): { listener?: (() => void) | undefined } => ({}));

/**
 * Wakes the process's courier, so that a delivery is sent before the next poll. This only
 * saves time: when the nudge comes before the commit, or the process has no courier, a
 * poll finds the delivery.
 */
export function nudge(): void {
  nudged.listener?.();
}

/** Replaces the listener of this process; undefined removes it. */
export function onNudge(listener: (() => void) | undefined): void {
  nudged.listener = listener;
}
