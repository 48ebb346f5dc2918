import { listLinkedUsers } from "#server/connect/linked-users.ts";
import { endpoint, preflight } from "#server/http/endpoint.ts";
import { linkedUserView } from "#server/http/linked-users-view.ts";
import { pageQuery, userList } from "#server/http/shapes.ts";
import { database } from "#server/platform/db.ts";
import { AppError } from "#server/platform/errors.ts";

export const dynamic = "force-dynamic";

export const GET = endpoint(
  {
    method: "GET",
    path: "/v1/users",
    summary: "List linked users",
    description: "The people who connected their wallet to your app, newest first.",
    query: pageQuery,
    response: userList,
    errors: ["bad_request", "invalid_api_key", "rate_limit_exceeded", "internal_error"],
  },
  async ({ caller, query }) => {
    // The sandbox has no links, because requests with `test` keys may name any user.
    if (caller.billingMode === "test") return { data: [], has_more: false };
    const page = await listLinkedUsers(await database(), caller.appId, { limit: query.limit, startingAfter: query.starting_after });
    if (page === null)
      throw new AppError("bad_request", {
        param: "starting_after",
        message: "`starting_after` must be the external_user_id of a linked user.",
      });
    return { data: page.data.map((view) => ({ external_user_id: view.externalUserId, ...linkedUserView(view) })), has_more: page.hasMore };
  },
);

export const OPTIONS = preflight;
