import { unlink } from "#server/connect/linked-users.ts";
import { endpoint, preflight } from "#server/http/endpoint.ts";
import { userParams, visibleLinkedUser } from "#server/http/linked-users-view.ts";
import { success } from "#server/http/shapes.ts";
import { transaction } from "#server/platform/db.ts";
import { noLinkedUser } from "#server/platform/errors.ts";

export const dynamic = "force-dynamic";

export const DELETE = endpoint(
  {
    method: "DELETE",
    path: "/v1/users/{external_user_id}/link",
    summary: "Unlink a user",
    description: "Ends the link with your app at once. The person's account and balance stay. Emits `user.disconnected`.",
    params: userParams,
    response: success,
    errors: ["invalid_api_key", "not_found", "rate_limit_exceeded", "internal_error"],
  },
  async ({ caller, params }) => {
    if (caller.billingMode === "test") {
      await visibleLinkedUser(caller, params.external_user_id);
      return { success: true };
    }
    const unlinked = await transaction((tx) => unlink(tx, caller.appId, params.external_user_id, "app"));
    if (!unlinked) throw noLinkedUser();
    return { success: true };
  },
);

export const OPTIONS = preflight;
