/**
 * Says that there may be something to deliver, so that it goes out at once and not
 * at the next poll. Nothing depends on it: it may come before the commit, or reach a
 * process that delivers nothing. Next and the server load this file as two modules
 * in one process, so the listener hangs on globalThis.
 */
const shared = globalThis as unknown as { quotaWebhookNudge?: () => void };

export function nudge(): void {
  shared.quotaWebhookNudge?.();
}

/** Who is to be nudged from now on; undefined for nobody. */
export function onNudge(listener: (() => void) | undefined): void {
  if (listener === undefined) delete shared.quotaWebhookNudge;
  else shared.quotaWebhookNudge = listener;
}
