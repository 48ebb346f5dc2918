import type { QuotaEvent } from "@usequota/core";

/**
 * What Quota told this app, newest first. A real app would act on it and keep it in its
 * database; here it is kept in memory, to be looked at.
 */
const KEPT = 200;
const shared = globalThis as unknown as { acmeNews?: Map<string, QuotaEvent> };

/** Each event may come more than once: by its id it is kept once. */
export function keep(event: QuotaEvent): void {
  shared.acmeNews ??= new Map();
  shared.acmeNews.set(event.id, event);
  const oldest = shared.acmeNews.keys().next();
  if (shared.acmeNews.size > KEPT && !oldest.done) shared.acmeNews.delete(oldest.value);
}

/** What was told about one person. */
export function newsAbout(externalUserId: string): QuotaEvent[] {
  return [...(shared.acmeNews?.values() ?? [])].filter((event) => event.data.external_user_id === externalUserId).reverse();
}
