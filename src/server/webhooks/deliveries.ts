import type { Prisma } from "../../generated/prisma/client.ts";
import { prisma } from "../platform/db.ts";
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

/** How long deliveries and events are kept. Longer than any retry goes on. */
export const KEPT_MS = 30 * 24 * 60 * 60 * 1000;

/** One page of an endpoint's deliveries, newest first. `before`: the id of the last one seen. */
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
    select: deliveryItem,
    orderBy: { id: "desc" },
    take: page.take + 1,
  });
  const items = rows.slice(0, page.take);
  return { items, next: rows.length > page.take ? (items.at(-1)?.id ?? null) : null };
}

const MOST_ATTEMPTS_SHOWN = 100;

/** One delivery with what was sent and how each attempt went, newest first; null when the app has no such delivery. */
export async function findDelivery(appId: string, endpointId: string, id: string) {
  const db = await prisma();
  const row = await db.webhookDelivery.findFirst({
    where: { id, appId, endpointId },
    select: {
      ...deliveryItem,
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
  const { tries, ...delivery } = row;
  return {
    ...delivery,
    /** What was, or will be, sent, byte for byte. */
    body: event === null ? null : bodyOf(event),
    tries: tries.map((each) => ({ ...each, requestHeaders: each.requestHeaders as Record<string, string> })),
  };
}
export type DeliveryRecord = NonNullable<Awaited<ReturnType<typeof findDelivery>>>;

export type RetryOutcome = { kind: "retried"; delivery: DeliveryItem } | { kind: "not_found" } | { kind: "disabled" };

/** Attempts a delivery now, whatever became of it so far; if that fails, retries begin anew. */
export async function retryDelivery(appId: string, endpointId: string, id: string): Promise<RetryOutcome> {
  const db = await prisma();
  const endpoint = await db.webhookEndpoint.findFirst({ where: { id: endpointId, appId }, select: { disabledAt: true } });
  if (endpoint === null) return { kind: "not_found" };
  if (endpoint.disabledAt !== null) return { kind: "disabled" };
  // Asked for by hand, so a receiver that wanted to be left alone is asked all the same.
  await db.webhookEndpoint.updateMany({ where: { id: endpointId, quietUntil: { not: null } }, data: { quietUntil: null } });
  // The job it may have belongs to it no more, and will find nothing to do.
  const [delivery] = await db.webhookDelivery.updateManyAndReturn({
    where: { id, appId, endpointId },
    data: { status: "pending", attempts: 0, nextAttemptAt: new Date(), jobId: null, updatedAt: new Date() },
    select: deliveryItem,
  });
  nudge();
  return delivery === undefined ? { kind: "not_found" } : { kind: "retried", delivery };
}

/** Forgets deliveries and events that are over for long; for the hourly job. A part at a time, so that nobody waits for it. */
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

/** The body of an event: the same bytes in every attempt, members in the order of the reference. */
export function bodyOf(event: { id: string; type: string; createdAt: Date; data: unknown }): string {
  const known = eventTable[event.type as EventType]?.data.safeParse(event.data);
  return JSON.stringify({
    id: shownId("evt", event.id),
    type: event.type,
    created_at: event.createdAt.toISOString(),
    data: known?.success === true ? known.data : event.data,
  });
}
