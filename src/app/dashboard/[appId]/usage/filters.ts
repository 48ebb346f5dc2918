import type { PeriodName } from "#ui/period-links.tsx";

/** What the usage screen, its log and its CSV are narrowed to, as it stands in the address. */
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

/** A list may be of all time. */
export type LogFilters = Omit<UsageFilters, "period"> & { period?: PeriodName | undefined };

type Asked = Record<string, string | string[] | undefined>;

/** Values that mean nothing are left out, as if they were not there. */
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

/** The other way round: `?model=…`, or nothing when all is as it is by default. */
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

/** The log is about requests of the same period; a request asked for by its id is found whenever it was. */
export function logOf({ requestId, period, ...rest }: LogFilters) {
  return requestId === undefined ? { ...rest, period } : { requestId };
}

export function isNarrowed({ period: _, ...rest }: LogFilters): boolean {
  return Object.values(rest).some((value) => value !== undefined);
}

function text(value: string | string[] | undefined): string | undefined {
  const first = Array.isArray(value) ? value[0] : value;
  // What can't be stored can't be found either.
  const cut = first
    ?.replaceAll(/\p{Cc}/gu, "")
    .trim()
    .slice(0, 255);
  return cut === "" ? undefined : cut;
}
