import { env } from "#env";
import type { Prisma } from "../../generated/prisma/client.ts";
import { prisma, type Tx, transaction } from "../platform/db.ts";
import { newId } from "../platform/ids.ts";
import { serverSecret } from "../platform/server-secret.ts";
import { addressProblem } from "./address.ts";
import { type DeliveryItem, deliveryItem, endQuiet } from "./deliveries.ts";
import { type EventType, eventTable } from "./events.ts";
import { nudge } from "./nudge.ts";
import { mintSigningSecret, seal, unseal } from "./secret.ts";

/** The columns that the API and the dashboard show: not the secrets. */
export const endpointItem = {
  id: true,
  url: true,
  description: true,
  events: true,
  sandbox: true,
  balanceLowThreshold: true,
  formerSecretUntil: true,
  failingSince: true,
  disabledAt: true,
  disabledReason: true,
  createdAt: true,
} satisfies Prisma.WebhookEndpointSelect;

type Row = Prisma.WebhookEndpointGetPayload<{ select: typeof endpointItem }>;
export type EndpointItem = Omit<Row, "events" | "disabledReason"> & {
  events: EventType[];
  disabledReason: "owner" | "failing" | "gone" | null;
  /** A sentence for the app's owner when deliveries fail or the endpoint was disabled for that; else null. */
  notice: string | null;
};

export const MOST_ENDPOINTS = 20;
export const DEFAULT_LOW_THRESHOLD = 100_000n;
/** How long the former secret also signs after a rotation, by default. */
export const DEFAULT_OVERLAP_MS = 24 * 60 * 60 * 1000;
export const LONGEST_OVERLAP_MS = 7 * DEFAULT_OVERLAP_MS;

/** An endpoint that is refused, with a sentence for the developer; `field` is the member at fault, or null. */
export class EndpointError extends Error {
  readonly field: "url" | "events" | null;
  constructor(field: EndpointError["field"], message: string) {
    super(message);
    this.name = "EndpointError";
    this.field = field;
  }
}

export type EndpointInput = {
  url: string;
  events: EventType[];
  description?: string | null | undefined;
  balanceLowThreshold?: bigint | undefined;
  /** Receives events of requests with `test` keys only. Default false: events of all others only. */
  sandbox?: boolean | undefined;
};

/** An app's endpoints, newest first; with `sandbox` only those with this value. */
export async function listEndpoints(appId: string, only: { sandbox?: boolean } = {}): Promise<EndpointItem[]> {
  const rows = await (await prisma()).webhookEndpoint.findMany({
    where: { appId, ...only },
    select: endpointItem,
    orderBy: { id: "desc" },
    take: 2 * MOST_ENDPOINTS,
  });
  return rows.map(item);
}

/** One of the app's endpoints; null when the app has no such endpoint. */
export async function findEndpoint(appId: string, id: string, only: { sandbox?: boolean } = {}): Promise<EndpointItem | null> {
  const row = await (await prisma()).webhookEndpoint.findFirst({ where: { id, appId, ...only }, select: endpointItem });
  return row === null ? null : item(row);
}

export type MadeEndpoint = { endpoint: EndpointItem; secret: string };

/**
 * Makes an endpoint and its secret; `alsoWrite` writes in the same transaction. Throws
 * EndpointError when the address can't be called or the app has too many.
 */
export async function createEndpoint(
  appId: string,
  input: EndpointInput,
  alsoWrite?: (tx: Tx, made: MadeEndpoint) => Promise<void>,
): Promise<MadeEndpoint> {
  const url = await checkedUrl(input.url);
  const id = newId();
  const secret = mintSigningSecret();
  const sealed = seal(await serverSecret(), id, secret);
  return transaction(async (tx) => {
    // The lock makes concurrent calls wait, so that each counts the endpoints of those before.
    await tx.prisma.$queryRaw`SELECT id FROM app WHERE id = ${appId}::uuid FOR NO KEY UPDATE`;
    if ((await tx.prisma.webhookEndpoint.count({ where: { appId } })) >= MOST_ENDPOINTS)
      throw new EndpointError(null, `An app has at most ${MOST_ENDPOINTS} endpoints.`);
    const row = await tx.prisma.webhookEndpoint.create({
      data: {
        id,
        appId,
        url,
        secret: sealed,
        events: unique(input.events),
        description: input.description ?? null,
        sandbox: input.sandbox ?? false,
        balanceLowThreshold: input.balanceLowThreshold ?? DEFAULT_LOW_THRESHOLD,
      },
      select: endpointItem,
    });
    const made = { endpoint: item(row), secret };
    await alsoWrite?.(tx, made);
    return made;
  });
}

export type EndpointChanges = Partial<Omit<EndpointInput, "sandbox">> & { enabled?: boolean | undefined };

/** Changes the members that are given. Null when the app has no such endpoint. Throws EndpointError when the address can't be called. */
export async function updateEndpoint(appId: string, id: string, changes: EndpointChanges): Promise<EndpointItem | null> {
  const url = changes.url === undefined ? undefined : await checkedUrl(changes.url);
  return transaction(async (tx) => {
    const [there] = await tx.prisma.$queryRaw<{ disabled: boolean }[]>`
      SELECT disabled_at IS NOT NULL AS disabled FROM webhook_endpoint WHERE id = ${id}::uuid AND app_id = ${appId}::uuid FOR UPDATE`;
    if (there === undefined) return null;
    const switched =
      changes.enabled === true && there.disabled
        ? { disabledAt: null, disabledReason: null, failingSince: null, quietUntil: null }
        : changes.enabled === false && !there.disabled
          ? { disabledAt: new Date(), disabledReason: "owner" }
          : {};
    const row = await tx.prisma.webhookEndpoint.update({
      where: { id },
      data: {
        // The pause was asked for by the receiver at the former address.
        ...(url === undefined ? {} : { url, quietUntil: null }),
        ...(changes.events === undefined ? {} : { events: unique(changes.events) }),
        ...(changes.description === undefined ? {} : { description: changes.description }),
        ...(changes.balanceLowThreshold === undefined ? {} : { balanceLowThreshold: changes.balanceLowThreshold }),
        ...switched,
      },
      select: endpointItem,
    });
    if (switched.disabledReason === "owner") await failPending(tx, [id], "the endpoint was disabled");
    return item(row);
  });
}

/** Fails the pending deliveries of endpoints that were just disabled, and ends their leases. Each can be retried by hand. */
export async function failPending(tx: Tx, endpointIds: readonly string[], reason: string): Promise<void> {
  await tx.prisma.webhookDelivery.updateMany({
    where: { endpointId: { in: [...endpointIds] }, status: "pending" },
    data: { status: "failed", nextAttemptAt: null, leaseToken: null, leasedUntil: null, lastError: reason, updatedAt: new Date() },
  });
}

/** Removes an endpoint with its deliveries. False when the app has no such endpoint. */
export async function removeEndpoint(appId: string, id: string): Promise<boolean> {
  return (await (await prisma()).webhookEndpoint.deleteMany({ where: { id, appId } })).count > 0;
}

/** The signing secret; null when the app has no such endpoint. Throws EndpointError when the server's secret has changed since. */
export async function revealSecret(appId: string, id: string): Promise<string | null> {
  const row = await (await prisma()).webhookEndpoint.findFirst({ where: { id, appId }, select: { secret: true } });
  if (row === null) return null;
  const secret = unseal(await serverSecret(), id, row.secret);
  if (secret === null) throw new EndpointError(null, SECRET_UNREADABLE);
  return secret;
}

export const ENDPOINT_DISABLED = "This endpoint is disabled. Enable it first.";
export const SECRET_UNREADABLE = "The server's secret has changed, so this endpoint's secret can't be read. Rotate it.";

/**
 * Gives an endpoint a new secret. For `overlapMs` deliveries are signed with the former one
 * too, so that a receiver verifies them before and after it is changed. 0 ends the former
 * secret at once, for one that leaked. Null when the app has no such endpoint.
 */
export async function rotateSecret(
  appId: string,
  id: string,
  overlapMs: number = DEFAULT_OVERLAP_MS,
): Promise<{ endpoint: EndpointItem; secret: string } | null> {
  const secret = mintSigningSecret();
  const sealed = seal(await serverSecret(), id, secret);
  return transaction(async (tx) => {
    // The lock makes a concurrent rotation wait, so that its former secret is the one made here.
    const rows = await tx.prisma.$queryRaw<unknown[]>`
      SELECT id FROM webhook_endpoint WHERE id = ${id}::uuid AND app_id = ${appId}::uuid FOR UPDATE`;
    if (rows.length === 0) return null;
    const { secret: former } = await tx.prisma.webhookEndpoint.findUniqueOrThrow({ where: { id }, select: { secret: true } });
    const row = await tx.prisma.webhookEndpoint.update({
      where: { id },
      data: {
        secret: sealed,
        formerSecret: overlapMs > 0 ? former : null,
        formerSecretUntil: overlapMs > 0 ? new Date(Date.now() + overlapMs) : null,
      },
      select: endpointItem,
    });
    return { endpoint: item(row), secret };
  });
}

/**
 * Sends an event with sample data to one endpoint, also of a type that the endpoint did not subscribe to. It is
 * delivered, signed and retried like others. `alsoWrite` writes in the same transaction. Null when the app has no such
 * endpoint; throws EndpointError when the endpoint is disabled.
 */
export async function sendTestEvent(
  appId: string,
  id: string,
  type?: EventType,
  alsoWrite?: (tx: Tx, delivery: DeliveryItem) => Promise<void>,
): Promise<DeliveryItem | null> {
  const delivery = await transaction(async (tx) => {
    const rows = await tx.prisma.$queryRaw<unknown[]>`
      SELECT id FROM webhook_endpoint WHERE id = ${id}::uuid AND app_id = ${appId}::uuid FOR UPDATE`;
    if (rows.length === 0) return null;
    const endpoint = await tx.prisma.webhookEndpoint.findUniqueOrThrow({ where: { id }, select: endpointItem });
    if (endpoint.disabledAt !== null) throw new EndpointError(null, ENDPOINT_DISABLED);
    const sent = type ?? (endpoint.events[0] as EventType);
    // A developer who sends a test waits for its result, so the receiver's pause ends.
    await endQuiet(tx, id);
    const now = new Date();
    const event = await tx.prisma.outboxEvent.create({
      data: {
        id: newId(),
        appId,
        endpointId: id,
        sandbox: endpoint.sandbox,
        type: sent,
        data: { ...eventTable[sent].sample },
        relayedAt: now,
      },
    });
    const made = await tx.prisma.webhookDelivery.create({
      data: { id: newId(), appId, endpointId: id, eventId: event.id, type: sent, nextAttemptAt: now },
      select: deliveryItem,
    });
    await alsoWrite?.(tx, made);
    return made;
  });
  nudge();
  return delivery;
}

/** The normalized URL. Throws EndpointError when deliveries can't go to it. */
async function checkedUrl(text: string): Promise<string> {
  const url = URL.parse(text);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for.
  if (url === null || !/^https?:\/\//i.test(text) || /[\u0000-\u0020\u007f]/.test(text))
    throw new EndpointError("url", "Write the whole address, such as https://example.com/webhooks.");
  if (text.length > 2_000) throw new EndpointError("url", "An address has at most 2,000 characters.");
  if (url.username !== "" || url.password !== "") throw new EndpointError("url", "An address has no user name or password.");
  if (url.hash !== "") throw new EndpointError("url", "An address for webhooks has no # part.");
  const problem = await addressProblem(url, { allowLoopback: env.QUOTA_WEBHOOK_ALLOW_LOOPBACK });
  if (problem !== null) throw new EndpointError("url", `Webhooks go to public addresses only: ${problem}.`);
  return url.href;
}

function unique(events: readonly EventType[]): EventType[] {
  return [...new Set(events)];
}

function item(row: Row): EndpointItem {
  return {
    ...row,
    events: row.events as EventType[],
    disabledReason: row.disabledReason as EndpointItem["disabledReason"],
    notice: noticeOf(row),
  };
}

function noticeOf(row: Row): string | null {
  if (row.disabledReason === "failing")
    return "This endpoint was disabled because every delivery failed for five days. Repair it, enable it, and retry what it missed.";
  if (row.disabledReason === "gone")
    return "This endpoint was disabled because its receiver answered 410 Gone. If that was a mistake, enable it and retry what it missed.";
  if (row.disabledAt === null && row.failingSince !== null)
    return "Deliveries to this endpoint have been failing. After five days without a success it is disabled.";
  return null;
}
