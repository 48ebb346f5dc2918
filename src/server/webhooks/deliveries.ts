import type { Prisma } from "../../generated/prisma/client.ts";
import { prisma, type Tx, transaction } from "../platform/db.ts";
import { shownId } from "../platform/ids.ts";
import { type EventType, eventTable } from "./events.ts";
import { nudge } from "./nudge.ts";

export const deliveryStatuses = ["pending", "succeeded", "failed"] as const;
export type DeliveryStatus = (typeof deliveryStatuses)[number];

export const deliveryItem = {
  id: true,
  endpointId: true,
  eventId: true,
  type: true,
  status: true,
  attempts: true,
  nextAttemptAt: true,
  lastResponseStatus: true,
  lastError: true,
  createdAt: true,
  updatedAt: true,
} satisfies Prisma.WebhookDeliverySelect;
export type DeliveryItem = Prisma.WebhookDeliveryGetPayload<{ select: typeof deliveryItem }>;

const withQuiet = { ...deliveryItem, endpoint: { select: { quietUntil: true } } } satisfies Prisma.WebhookDeliverySelect;

/** A delivery is not due before the endpoint's `quietUntil` (Retry-After), so that is what is shown as its next attempt. */
function withPause<Item extends { nextAttemptAt: Date | null; endpoint: { quietUntil: Date | null } }>({ endpoint, ...item }: Item) {
  const { nextAttemptAt } = item;
  const later = nextAttemptAt !== null && endpoint.quietUntil !== null && endpoint.quietUntil > nextAttemptAt;
  return later ? { ...item, nextAttemptAt: endpoint.quietUntil } : item;
}

/** How long deliveries and events are kept. Longer than the retries of a delivery take. */
export const KEPT_MS = 30 * 24 * 60 * 60 * 1000;

/** One page of an endpoint's deliveries, newest first. `before` is the former page's `next`, which is null on the last page. */
export async function listDeliveries(
  appId: string,
  endpointId: string,
  page: { take: number; before?: string | undefined; status?: DeliveryStatus | undefined; type?: EventType | undefined },
): Promise<{ items: DeliveryItem[]; next: string | null }> {
  const rows = await (await prisma()).webhookDelivery.findMany({
    where: {
      appId,
      endpointId,
      ...(page.status === undefined ? {} : { status: page.status }),
      ...(page.type === undefined ? {} : { type: page.type }),
      ...(page.before === undefined ? {} : { id: { lt: page.before } }),
    },
    select: withQuiet,
    orderBy: { id: "desc" },
    take: page.take + 1,
  });
  const items = rows.slice(0, page.take).map(withPause);
  return { items, next: rows.length > page.take ? (items.at(-1)?.id ?? null) : null };
}

const MOST_ATTEMPTS_SHOWN = 100;

/** One delivery with its body and its attempts, the newest 100 first; null when the app has no such delivery. */
export async function findDelivery(appId: string, endpointId: string, id: string) {
  const db = await prisma();
  const row = await db.webhookDelivery.findFirst({
    where: { id, appId, endpointId },
    select: {
      ...withQuiet,
      tries: {
        select: {
          id: true,
          url: true,
          requestHeaders: true,
          responseStatus: true,
          responseBody: true,
          error: true,
          startedAt: true,
          durationMs: true,
        },
        orderBy: { id: "desc" },
        take: MOST_ATTEMPTS_SHOWN,
      },
    },
  });
  if (row === null) return null;
  const event = await db.outboxEvent.findUnique({ where: { id: row.eventId } });
  const { tries, ...delivery } = withPause(row);
  return {
    ...delivery,
    /** The same bytes in every attempt; null when the event has been deleted. */
    body: event === null ? null : bodyOf(event),
    tries: tries.map((each) => ({ ...each, requestHeaders: each.requestHeaders as Record<string, string> })),
  };
}
export type DeliveryRecord = NonNullable<Awaited<ReturnType<typeof findDelivery>>>;

export type RetryOutcome = { kind: "retried"; delivery: DeliveryItem } | { kind: "not_found" } | { kind: "disabled" };

/** Makes a delivery due now and starts its attempts anew, also after it succeeded or failed. */
export async function retryDelivery(appId: string, endpointId: string, id: string): Promise<RetryOutcome> {
  const outcome = await transaction(async (tx): Promise<RetryOutcome> => {
    // The endpoint is locked before its deliveries, as in results.ts, to avoid a deadlock.
    const [endpoint] = await tx.prisma.$queryRaw<{ disabled: boolean }[]>`
      SELECT disabled_at IS NOT NULL AS disabled FROM webhook_endpoint WHERE id = ${endpointId}::uuid AND app_id = ${appId}::uuid FOR UPDATE`;
    if (endpoint === undefined) return { kind: "not_found" };
    if (endpoint.disabled) return { kind: "disabled" };
    await endQuiet(tx, endpointId);
    // Ends a courier's lease: the result of an attempt under way then does not change the delivery.
    const [delivery] = await tx.prisma.webhookDelivery.updateManyAndReturn({
      where: { id, appId, endpointId },
      data: { status: "pending", attempts: 0, nextAttemptAt: new Date(), leaseToken: null, leasedUntil: null, updatedAt: new Date() },
      select: deliveryItem,
    });
    return delivery === undefined ? { kind: "not_found" } : { kind: "retried", delivery };
  });
  nudge();
  return outcome;
}

/**
 * Ends the pause that a receiver asked for (Retry-After), so that a delivery requested by hand is sent. Pending
 * deliveries get the end of the pause as their next attempt. The caller has locked the endpoint's row.
 */
export async function endQuiet(tx: Tx, endpointId: string): Promise<void> {
  await tx.prisma.$executeRaw`
    UPDATE webhook_delivery d SET next_attempt_at = e.quiet_until
    FROM webhook_endpoint e
    WHERE e.id = ${endpointId}::uuid AND d.endpoint_id = e.id AND d.status = 'pending' AND d.next_attempt_at < e.quiet_until`;
  await tx.prisma.webhookEndpoint.updateMany({ where: { id: endpointId, quietUntil: { not: null } }, data: { quietUntil: null } });
}

/** Deletes finished deliveries and events older than `KEPT_MS`; for the hourly job. 1,000 rows a statement, so that no lock is held long. */
export async function purgeDeliveries(now: Date = new Date()): Promise<void> {
  const db = await prisma();
  const before = new Date(now.getTime() - KEPT_MS);
  for (;;) {
    const deliveries = await db.$executeRaw`
      DELETE FROM webhook_delivery WHERE id IN (
        SELECT id FROM webhook_delivery WHERE created_at < ${before} AND status <> 'pending' ORDER BY id LIMIT 1000)`;
    const events = await db.$executeRaw`
      DELETE FROM outbox_event WHERE id IN (
        SELECT o.id FROM outbox_event o
        WHERE o.created_at < ${before} AND o.relayed_at IS NOT NULL AND NOT EXISTS (SELECT 1 FROM webhook_delivery d WHERE d.event_id = o.id)
        ORDER BY o.id LIMIT 1000)`;
    if (deliveries < 1000 && events < 1000) return;
  }
}

/** The body of an event's deliveries. PostgreSQL reorders the members of `jsonb`; parsing restores the order of the reference. */
export function bodyOf(event: { id: string; type: string; createdAt: Date; data: unknown }): string {
  const known = eventTable[event.type as EventType]?.data.safeParse(event.data);
  return JSON.stringify({
    id: shownId("evt", event.id),
    type: event.type,
    created_at: event.createdAt.toISOString(),
    data: known?.success === true ? known.data : event.data,
  });
}
