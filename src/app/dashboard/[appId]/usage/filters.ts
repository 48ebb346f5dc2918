import type { PeriodName } from "#ui/period-links.tsx";

/** The filters of the usage screen, its log and its CSV, as in the address. */
export type UsageFilters = {
  period: PeriodName;
  model?: string | undefined;
  externalUserId?: string | undefined;
  /** A key's id, or `tokens`. */
  apiKeyId?: string | undefined;
  outcome?: "billed" | "failed" | undefined;
  sandbox?: boolean | undefined;
  requestId?: string | undefined;
};

/** The log may be without a period. */
export type LogFilters = Omit<UsageFilters, "period"> & { period?: PeriodName | undefined };

type Asked = Record<string, string | string[] | undefined>;

/** Reads filters from search parameters; invalid values are left out. */
export function filtersOf(asked: Asked): UsageFilters {
  const period = text(asked.period);
  const apiKeyId = text(asked.key);
  const outcome = text(asked.outcome);
  const credits = text(asked.credits);
  return {
    period: period === "today" || period === "7d" || period === "90d" ? period : "30d",
    model: text(asked.model),
    externalUserId: text(asked.external_user_id),
    apiKeyId: apiKeyId === "tokens" || (apiKeyId && UUID.test(apiKeyId)) ? apiKeyId : undefined,
    outcome: outcome === "billed" || outcome === "failed" ? outcome : undefined,
    sandbox: credits === "sandbox" ? true : credits === "real" ? false : undefined,
    requestId: text(asked.request_id),
  };
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** The search parameters of filters: `?model=…`, or nothing when all are defaults. */
export function queryOf(filters: Partial<UsageFilters>, more: Record<string, string> = {}): string {
  const query = new URLSearchParams();
  if (filters.period !== undefined && filters.period !== "30d") query.set("period", filters.period);
  if (filters.model !== undefined) query.set("model", filters.model);
  if (filters.externalUserId !== undefined) query.set("external_user_id", filters.externalUserId);
  if (filters.apiKeyId !== undefined) query.set("key", filters.apiKeyId);
  if (filters.outcome !== undefined) query.set("outcome", filters.outcome);
  if (filters.sandbox !== undefined) query.set("credits", filters.sandbox ? "sandbox" : "real");
  if (filters.requestId !== undefined) query.set("request_id", filters.requestId);
  for (const [name, value] of Object.entries(more)) query.set(name, value);
  return query.size === 0 ? "" : `?${query}`;
}

/** The filters of the log; a request asked for by its id is found in any period. */
export function logOf({ requestId, period, ...rest }: LogFilters) {
  return requestId === undefined ? { ...rest, period } : { requestId };
}

export function isNarrowed({ period: _, ...rest }: LogFilters): boolean {
  return Object.values(rest).some((value) => value !== undefined);
}

function text(value: string | string[] | undefined): string | undefined {
  const first = Array.isArray(value) ? value[0] : value;
  // Control characters and longer text are never stored, so they cannot match.
  const cut = first
    ?.replaceAll(/\p{Cc}/gu, "")
    .trim()
    .slice(0, 255);
  return cut === "" ? undefined : cut;
}
