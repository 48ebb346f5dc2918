import type { QuotaEvent } from "@usequota/core";

/**
 * Events from Quota, newest first. A real app would act on them and store them in its database;
 * this example keeps them in memory and shows them.
 */
const KEPT = 200;
const shared = globalThis as unknown as { acmeNews?: Map<string, QuotaEvent> };

/** Stores an event once by its id, because a delivery may be repeated. */
export function keep(event: QuotaEvent): void {
  shared.acmeNews ??= new Map();
  shared.acmeNews.set(event.id, event);
  const oldest = shared.acmeNews.keys().next();
  if (shared.acmeNews.size > KEPT && !oldest.done) shared.acmeNews.delete(oldest.value);
}

/** The events about one user. */
export function newsAbout(externalUserId: string): QuotaEvent[] {
  return [...(shared.acmeNews?.values() ?? [])].filter((event) => event.data.external_user_id === externalUserId).reverse();
}
