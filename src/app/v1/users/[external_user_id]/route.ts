import { endpoint, preflight } from "#server/http/endpoint.ts";
import { linkedUserView, userParams, visibleLinkedUser } from "#server/http/linked-users-view.ts";
import { linkedUser } from "#server/http/shapes.ts";

export const dynamic = "force-dynamic";

export const GET = endpoint(
  {
    method: "GET",
    path: "/v1/users/{external_user_id}",
    summary: "Look up a linked user",
    params: userParams,
    response: linkedUser,
    errors: ["invalid_api_key", "not_found", "rate_limit_exceeded", "internal_error"],
  },
  async ({ caller, params }) => linkedUserView(await visibleLinkedUser(caller, params.external_user_id)),
);

export const OPTIONS = preflight;
