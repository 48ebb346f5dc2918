import { endpoint, preflight, rememberJson } from "#server/http/endpoint.ts";
import { webhookCreation, webhookList, webhookWithSecret } from "#server/http/shapes.ts";
import { orBadRequest, webhookView } from "#server/http/webhooks-view.ts";
import { createEndpoint, listEndpoints, type MadeEndpoint } from "#server/webhooks/endpoints.ts";

export const dynamic = "force-dynamic";

export const GET = endpoint(
  {
    method: "GET",
    path: "/v1/webhooks",
    summary: "List webhook endpoints",
    description: "Newest first. A `test` key sees those that were made with a `test` key, other keys see the others.",
    response: webhookList,
    errors: ["invalid_api_key", "rate_limit_exceeded", "internal_error"],
  },
  async ({ caller }) => {
    const endpoints = await listEndpoints(caller.appId, { sandbox: caller.billingMode === "test" });
    return { data: endpoints.map(webhookView), has_more: false };
  },
);

export const POST = endpoint(
  {
    method: "POST",
    path: "/v1/webhooks",
    summary: "Create a webhook endpoint",
    description:
      "The answer has the secret that signs deliveries; it is not shown again, except to who repeats the request with the same Idempotency-Key.",
    body: webhookCreation,
    idempotency: "optional",
    answersSecret: true,
    response: webhookWithSecret,
    errors: ["bad_request", "invalid_api_key", "idempotency_conflict", "request_too_large", "rate_limit_exceeded", "internal_error"],
  },
  async ({ caller, body, idempotency }) => {
    const answerOf = (made: MadeEndpoint) => ({ ...webhookView(made.endpoint), secret: made.secret });
    const made = await orBadRequest(
      createEndpoint(
        caller.appId,
        {
          url: body.url,
          events: body.events,
          description: body.description,
          balanceLowThreshold: BigInt(body.balance_low_threshold),
          sandbox: caller.billingMode === "test",
        },
        (tx, made) => rememberJson(idempotency, tx, answerOf(made)),
      ),
    );
    return answerOf(made);
  },
);

export const OPTIONS = preflight;
