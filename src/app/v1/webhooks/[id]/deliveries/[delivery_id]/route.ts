import { endpoint, preflight } from "#server/http/endpoint.ts";
import { webhookDeliveryRecord } from "#server/http/shapes.ts";
import { deliveryParams, deliveryRecordView, noSuchDelivery, visibleEndpoint } from "#server/http/webhooks-view.ts";
import { findDelivery } from "#server/webhooks/deliveries.ts";

export const dynamic = "force-dynamic";

export const GET = endpoint(
  {
    method: "GET",
    path: "/v1/webhooks/{id}/deliveries/{delivery_id}",
    summary: "Get a delivery",
    description: "What was sent, and how each attempt went.",
    params: deliveryParams,
    response: webhookDeliveryRecord,
    errors: ["invalid_api_key", "not_found", "rate_limit_exceeded", "internal_error"],
  },
  async ({ caller, params }) => {
    await visibleEndpoint(caller, params.id);
    const record = await findDelivery(caller.appId, params.id, params.delivery_id);
    if (record === null) throw noSuchDelivery();
    return deliveryRecordView(record);
  },
);

export const OPTIONS = preflight;
