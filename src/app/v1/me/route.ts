import { endpoint, preflight } from "#server/http/endpoint.ts";
import { me } from "#server/http/shapes.ts";
import { database } from "#server/platform/db.ts";
import { sumUsage, type UsageFilter } from "#server/usage/reports.ts";

export const dynamic = "force-dynamic";

const HOUR_MS = 60 * 60 * 1000;
const DAYS_30_MS = 30 * 24 * HOUR_MS;

export const GET = endpoint(
  {
    method: "GET",
    path: "/v1/me",
    summary: "Who this credential is",
    description:
      "The key and its app, with what the app used in the last 30 days; or, for an access token with the scope credits.read, the person and what they used in this app. The e-mail address is there with the scope email.",
    tokenScope: "credits.read",
    response: me,
    errors: ["invalid_api_key", "rate_limit_exceeded", "internal_error"],
  },
  async ({ caller }) => {
    return {
      object: "api_key",
      id: caller.apiKeyId,
      name: caller.keyName,
      fragment: caller.keyFragment,
      billing_mode: caller.billingMode,
      app: { id: caller.appId, name: caller.appName },
      usage_30d: await usage30d({ appId: caller.appId, test: caller.billingMode === "test" }),
    };
  },
  async ({ caller }) => ({
    object: "user",
    id: caller.userId,
    ...(caller.scopes.includes("email") ? { email: caller.email } : {}),
    scope: caller.scopes.join(" "),
    billing_mode: "user",
    app: { id: caller.appId, name: caller.appName },
    usage_30d: await usage30d({ appId: caller.appId, test: false, walletId: caller.walletId }),
  }),
);

async function usage30d(filter: UsageFilter) {
  const [sum] = await sumUsage(await database(), { ...filter, start: thirtyDaysAgo() }, "all");
  return {
    requests: sum?.requests ?? 0,
    prompt_tokens: sum?.promptTokens ?? 0,
    completion_tokens: sum?.completionTokens ?? 0,
    credits_used: sum?.creditsUsed ?? 0,
  };
}

/** 30 days ago, rounded down to the hour, because usage is summed by the hour. */
function thirtyDaysAgo(): Date {
  return new Date(Math.floor((Date.now() - DAYS_30_MS) / HOUR_MS) * HOUR_MS);
}

export const OPTIONS = preflight;
