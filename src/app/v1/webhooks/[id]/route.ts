import { endpoint, preflight } from "#server/http/endpoint.ts";
import { success, webhook, webhookChange, webhookWithSecret } from "#server/http/shapes.ts";
import { noSuchEndpoint, orBadRequest, visibleEndpoint, webhookParams, webhookView } from "#server/http/webhooks-view.ts";
import { AppError } from "#server/platform/errors.ts";
import { removeEndpoint, rotateSecret, updateEndpoint } from "#server/webhooks/endpoints.ts";

export const dynamic = "force-dynamic";

export const GET = endpoint(
  {
    method: "GET",
    path: "/v1/webhooks/{id}",
    summary: "Get a webhook endpoint",
    params: webhookParams,
    response: webhook,
    errors: ["invalid_api_key", "not_found", "rate_limit_exceeded", "internal_error"],
  },
  async ({ caller, params }) => webhookView(await visibleEndpoint(caller, params.id)),
);

export const PATCH = endpoint(
  {
    method: "PATCH",
    path: "/v1/webhooks/{id}",
    summary: "Change a webhook endpoint",
    description: "Changes what is given and leaves the rest. With `rotate_secret` the answer has the new secret.",
    params: webhookParams,
    body: webhookChange,
    response: webhookWithSecret,
    errors: ["bad_request", "invalid_api_key", "not_found", "request_too_large", "rate_limit_exceeded", "internal_error"],
  },
  async ({ caller, params, body }) => {
    await visibleEndpoint(caller, params.id);
    if (body.overlap_seconds !== undefined && body.rotate_secret === undefined)
      throw new AppError("bad_request", { param: "overlap_seconds", message: "`overlap_seconds` goes with `rotate_secret`." });
    const changed = await orBadRequest(
      updateEndpoint(caller.appId, params.id, {
        url: body.url,
        events: body.events,
        description: body.description,
        balanceLowThreshold: body.balance_low_threshold === undefined ? undefined : BigInt(body.balance_low_threshold),
        enabled: body.enabled,
      }),
    );
    if (changed === null) throw noSuchEndpoint();
    if (body.rotate_secret === undefined) return webhookView(changed);
    const rotated = await rotateSecret(
      caller.appId,
      params.id,
      body.overlap_seconds === undefined ? undefined : body.overlap_seconds * 1_000,
    );
    if (rotated === null) throw noSuchEndpoint();
    return { ...webhookView(rotated.endpoint), secret: rotated.secret };
  },
);

export const DELETE = endpoint(
  {
    method: "DELETE",
    path: "/v1/webhooks/{id}",
    summary: "Remove a webhook endpoint",
    description: "With its deliveries; what is still pending is not sent.",
    params: webhookParams,
    response: success,
    errors: ["invalid_api_key", "not_found", "rate_limit_exceeded", "internal_error"],
  },
  async ({ caller, params }) => {
    await visibleEndpoint(caller, params.id);
    if (!(await removeEndpoint(caller.appId, params.id))) throw noSuchEndpoint();
    return { success: true };
  },
);

export const OPTIONS = preflight;
