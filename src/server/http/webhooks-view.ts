import { z } from "zod";
import type { Caller } from "../apps/api-keys.ts";
import { AppError } from "../platform/errors.ts";
import { idOfShown, shownId } from "../platform/ids.ts";
import type { DeliveryItem, DeliveryRecord } from "../webhooks/deliveries.ts";
import { ENDPOINT_DISABLED, EndpointError, type EndpointItem, findEndpoint } from "../webhooks/endpoints.ts";

const shown = (kind: "whk" | "dlv") =>
  z.string().transform((text, context) => {
    const id = idOfShown(kind, text);
    if (id !== null) return id;
    context.addIssue({ code: "custom", message: `must be an id that begins with ${kind}_` });
    return z.NEVER;
  });

export const webhookParams = z.object({ id: shown("whk") });
export const deliveryParams = z.object({ id: shown("whk"), delivery_id: shown("dlv") });

/** The UUID behind a delivery's id in a query. Throws `bad_request` for anything else. */
export function deliveryIdOf(text: string): string {
  const id = idOfShown("dlv", text);
  if (id === null)
    throw new AppError("bad_request", { param: "starting_after", message: "`starting_after` must be the id of a delivery." });
  return id;
}

/** An endpoint of the key's app: of the sandbox for a `test` key, else not of the sandbox. Throws `not_found`. */
export async function visibleEndpoint(caller: Caller, id: string): Promise<EndpointItem> {
  const endpoint = await findEndpoint(caller.appId, id, { sandbox: caller.billingMode === "test" });
  if (endpoint === null) throw noSuchEndpoint();
  return endpoint;
}

export function noSuchEndpoint(): AppError {
  return new AppError("not_found", {
    message: "There is no webhook endpoint with this id.",
    hint: "GET /v1/webhooks lists those of your app.",
  });
}

export function noSuchDelivery(): AppError {
  return new AppError("not_found", {
    message: "This webhook endpoint has no delivery with this id.",
    hint: "GET /v1/webhooks/{id}/deliveries lists those of the last 30 days.",
  });
}

/** A disabled endpoint gets no deliveries, not even by a manual retry. */
export function endpointIsDisabled(): AppError {
  return new AppError("bad_request", { message: ENDPOINT_DISABLED });
}

/** Awaits work on endpoints and turns an EndpointError into a `bad_request` that names the field. */
export async function orBadRequest<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof EndpointError) throw new AppError("bad_request", { param: error.field, message: error.message });
    throw error;
  }
}

export function webhookView(endpoint: EndpointItem) {
  return {
    id: shownId("whk", endpoint.id),
    url: endpoint.url,
    description: endpoint.description,
    events: endpoint.events,
    balance_low_threshold: endpoint.balanceLowThreshold,
    sandbox: endpoint.sandbox,
    enabled: endpoint.disabledAt === null,
    disabled_at: endpoint.disabledAt?.toISOString() ?? null,
    disabled_reason: endpoint.disabledReason,
    failing_since: endpoint.failingSince?.toISOString() ?? null,
    former_secret_until: endpoint.formerSecretUntil?.toISOString() ?? null,
    notice: endpoint.notice,
    created_at: endpoint.createdAt.toISOString(),
  };
}

export function deliveryView(delivery: DeliveryItem) {
  return {
    id: shownId("dlv", delivery.id),
    event_id: shownId("evt", delivery.eventId),
    type: delivery.type,
    status: delivery.status,
    attempts: delivery.attempts,
    next_attempt_at: delivery.nextAttemptAt?.toISOString() ?? null,
    last_response_status: delivery.lastResponseStatus,
    last_error: delivery.lastError,
    created_at: delivery.createdAt.toISOString(),
  };
}

export function deliveryRecordView(record: DeliveryRecord) {
  return {
    ...deliveryView(record),
    request_body: record.body,
    log: record.tries.map((each) => ({
      url: each.url,
      request_headers: each.requestHeaders,
      response_status: each.responseStatus,
      response_body: each.responseBody,
      error: each.error,
      started_at: each.startedAt.toISOString(),
      duration_ms: each.durationMs,
    })),
  };
}
