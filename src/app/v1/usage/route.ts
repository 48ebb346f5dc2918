import { endpoint, preflight } from "#server/http/endpoint.ts";
import { usagePage, usageQuery } from "#server/http/shapes.ts";
import { database } from "#server/platform/db.ts";
import { AppError } from "#server/platform/errors.ts";
import { idOfRequest, requestIdOf } from "#server/platform/ids.ts";
import { listUsage, sumUsage, type UsageItem } from "#server/usage/reports.ts";

export const dynamic = "force-dynamic";

export const GET = endpoint(
  {
    method: "GET",
    path: "/v1/usage",
    summary: "Read usage",
    description: "Billed requests, newest first, or sums of them by day, model or user. A test key reads the sandbox's.",
    query: usageQuery,
    response: usagePage,
    errors: ["bad_request", "invalid_api_key", "rate_limit_exceeded", "internal_error"],
  },
  async ({ caller, query }) => {
    const db = await database();
    const filter = {
      appId: caller.appId,
      test: caller.billingMode === "test",
      externalUserId: query.external_user_id,
      model: query.model,
      start: query.start,
      end: query.end,
    };
    if (query.group_by !== undefined) {
      const sums = await sumUsage(db, filter, query.group_by);
      return {
        group_by: query.group_by,
        data: sums.map((sum) => ({
          group: sum.group,
          requests: sum.requests,
          prompt_tokens: sum.promptTokens,
          completion_tokens: sum.completionTokens,
          credits_used: sum.creditsUsed,
        })),
      };
    }
    const before = query.starting_after === undefined ? undefined : idOfRequest(query.starting_after);
    if (before === null) throw new AppError("bad_request", { param: "starting_after", message: "`starting_after` must be a request id." });
    const page = await listUsage(db, filter, { limit: query.limit, before });
    return { data: page.data.map(view), has_more: page.hasMore };
  },
);

function view(item: UsageItem) {
  return {
    request_id: requestIdOf(item.id),
    created_at: item.createdAt.toISOString(),
    external_user_id: item.externalUserId,
    billing_mode: item.billingMode,
    endpoint: item.endpoint,
    model: item.model,
    prompt_tokens: item.promptTokens,
    cached_tokens: item.cachedTokens,
    completion_tokens: item.completionTokens,
    total_tokens: item.promptTokens + item.completionTokens,
    credits_used: item.base + item.markup,
    markup: item.markup,
    status: item.outcome,
    counted_by: item.countedBy,
    stream: item.streamed,
    duration_ms: item.durationMs,
  };
}

export const OPTIONS = preflight;
