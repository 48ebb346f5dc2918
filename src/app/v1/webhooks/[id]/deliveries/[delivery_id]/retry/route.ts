import { endpoint, preflight } from "#server/http/endpoint.ts";
import { webhookDelivery } from "#server/http/shapes.ts";
import { deliveryParams, deliveryView, endpointIsDisabled, noSuchDelivery, visibleEndpoint } from "#server/http/webhooks-view.ts";
import { retryDelivery } from "#server/webhooks/deliveries.ts";

export const dynamic = "force-dynamic";

export const POST = endpoint(
  {
    method: "POST",
    path: "/v1/webhooks/{id}/deliveries/{delivery_id}/retry",
    summary: "Retry a delivery",
    description: "Attempts it now, whatever became of it so far; if that fails, retries begin anew.",
    params: deliveryParams,
    idempotency: "optional",
    response: webhookDelivery,
    errors: ["bad_request", "invalid_api_key", "not_found", "idempotency_conflict", "rate_limit_exceeded", "internal_error"],
  },
  async ({ caller, params }) => {
    await visibleEndpoint(caller, params.id);
    const outcome = await retryDelivery(caller.appId, params.id, params.delivery_id);
    if (outcome.kind === "not_found") throw noSuchDelivery();
    if (outcome.kind === "disabled") throw endpointIsDisabled();
    return deliveryView(outcome.delivery);
  },
);

export const OPTIONS = preflight;
