import { endpoint, preflight } from "#server/http/endpoint.ts";
import { webhookDeliveryList, webhookDeliveryQuery } from "#server/http/shapes.ts";
import { deliveryIdOf, deliveryView, visibleEndpoint, webhookParams } from "#server/http/webhooks-view.ts";
import { listDeliveries } from "#server/webhooks/deliveries.ts";

export const dynamic = "force-dynamic";

export const GET = endpoint(
  {
    method: "GET",
    path: "/v1/webhooks/{id}/deliveries",
    summary: "List deliveries",
    description: "What was sent, or is to be sent, to an endpoint in the last 30 days, newest first.",
    params: webhookParams,
    query: webhookDeliveryQuery,
    response: webhookDeliveryList,
    errors: ["bad_request", "invalid_api_key", "not_found", "rate_limit_exceeded", "internal_error"],
  },
  async ({ caller, params, query }) => {
    await visibleEndpoint(caller, params.id);
    const before = query.starting_after === undefined ? undefined : deliveryIdOf(query.starting_after);
    const page = await listDeliveries(caller.appId, params.id, { take: query.limit, before, status: query.status, type: query.type });
    return { data: page.items.map(deliveryView), has_more: page.next !== null };
  },
);

export const OPTIONS = preflight;
