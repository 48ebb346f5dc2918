import { endpoint, preflight, rememberJson } from "#server/http/endpoint.ts";
import { webhookDelivery, webhookTest } from "#server/http/shapes.ts";
import { deliveryView, noSuchEndpoint, orBadRequest, visibleEndpoint, webhookParams } from "#server/http/webhooks-view.ts";
import { sendTestEvent } from "#server/webhooks/endpoints.ts";

export const dynamic = "force-dynamic";

export const POST = endpoint(
  {
    method: "POST",
    path: "/v1/webhooks/{id}/test",
    summary: "Send a test event",
    description:
      "An event with sample data, delivered to this endpoint alone, signed and retried like any other. Send `{}` for the default.",
    params: webhookParams,
    body: webhookTest,
    idempotency: "optional",
    response: webhookDelivery,
    errors: [
      "bad_request",
      "invalid_api_key",
      "not_found",
      "idempotency_conflict",
      "request_too_large",
      "rate_limit_exceeded",
      "internal_error",
    ],
  },
  async ({ caller, params, body, idempotency }) => {
    await visibleEndpoint(caller, params.id);
    const delivery = await orBadRequest(
      sendTestEvent(caller.appId, params.id, body.type, (tx, made) => rememberJson(idempotency, tx, deliveryView(made))),
    );
    if (delivery === null) throw noSuchEndpoint();
    return deliveryView(delivery);
  },
);

export const OPTIONS = preflight;
