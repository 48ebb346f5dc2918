import type { Prisma } from "../../generated/prisma/client.ts";
import type { Database } from "../platform/db.ts";
import { toBigInt } from "../platform/sql.ts";
import { type Group, sumsByHour, sumsByUser } from "./sums.ts";

/** Selects requests of an app for a report. Failed requests cost nothing and are left out. */
export type UsageFilter = {
  appId: string;
  /** true: requests of `test` keys; false: requests paid with real credits. */
  test: boolean;
  externalUserId?: string | undefined;
  /** Requests that this wallet paid for. */
  walletId?: string | undefined;
  model?: string | undefined;
  start?: Date | undefined;
  end?: Date | undefined;
};

const columns = {
  id: true,
  createdAt: true,
  externalUserId: true,
  billingMode: true,
  endpoint: true,
  model: true,
  promptTokens: true,
  cachedTokens: true,
  completionTokens: true,
  base: true,
  markup: true,
  outcome: true,
  countedBy: true,
  streamed: true,
  durationMs: true,
} satisfies Prisma.UsageSelect;
export type UsageItem = Prisma.UsageGetPayload<{ select: typeof columns }>;

/** Requests, newest first, `limit` at a time; `before` is the id of the last request of the page before. */
export async function listUsage(
  db: Database,
  filter: UsageFilter,
  page: { limit: number; before?: string | undefined },
): Promise<{ data: UsageItem[]; hasMore: boolean }> {
  const rows = await db.prisma.usage.findMany({
    where: {
      appId: filter.appId,
      outcome: { in: ["completed", "interrupted"] },
      billingMode: filter.test ? "test" : { not: "test" },
      ...(filter.externalUserId === undefined ? {} : { externalUserId: filter.externalUserId }),
      ...(filter.walletId === undefined ? {} : { walletId: filter.walletId }),
      ...(filter.model === undefined ? {} : { model: filter.model }),
      ...(filter.start === undefined && filter.end === undefined ? {} : { createdAt: { gte: filter.start, lt: filter.end } }),
      ...(page.before === undefined ? {} : { id: { lt: page.before } }),
    },
    orderBy: { id: "desc" },
    take: page.limit + 1,
    select: columns,
  });
  return { data: rows.slice(0, page.limit), hasMore: rows.length > page.limit };
}

export type UsageSum = {
  /** The day (`YYYY-MM-DD`, UTC), the model or the external user id; null for requests without a user. */
  group: string | null;
  requests: number;
  promptTokens: number;
  completionTokens: number;
  /** Base and markup, in credits. */
  creditsUsed: bigint;
};

export type UsageGrouping = "day" | "model" | "user" | "all";

/**
 * Sums for a report: by day in order of time, by model or user with the largest amount first; at
 * most 1,000 groups. Read from the dashboard's sums when `start` and `end` are on their boundaries, else
 * from the requests, with the same result.
 */
export async function sumUsage(db: Database, filter: UsageFilter, by: UsageGrouping): Promise<UsageSum[]> {
  const { appId, test: sandbox, start: from, end: to, externalUserId, model } = filter;
  const order = { limit: 1000, billedOnly: true };
  // There are no sums by wallet, and a wallet has few requests.
  if (filter.walletId !== undefined) return sumRequests(db, filter, by);
  if (externalUserId === undefined && by !== "user" && wholeMultiple(HOUR_MS, from, to))
    return (await sumsByHour(db.sql, { appId, sandbox, from, to, model }, by, order)).map(reported);
  if (model === undefined && by !== "model" && wholeMultiple(DAY_MS, from, to)) {
    const externalUserIds = externalUserId === undefined ? undefined : [externalUserId];
    return (await sumsByUser(db.sql, { appId, sandbox, from, to, externalUserIds }, by, order)).map(reported);
  }
  return sumRequests(db, filter, by);
}

const HOUR_MS = 60 * 60 * 1000;
const DAY_MS = 24 * HOUR_MS;

function wholeMultiple(ms: number, ...moments: (Date | undefined)[]): boolean {
  return moments.every((moment) => moment === undefined || moment.getTime() % ms === 0);
}

function reported({ group, requests, promptTokens, completionTokens, base, markup }: Group): UsageSum {
  return { group, requests, promptTokens, completionTokens, creditsUsed: base + markup };
}

/** Sums from the requests themselves, for any `start` and `end`. */
export async function sumRequests(db: Database, filter: UsageFilter, by: UsageGrouping): Promise<UsageSum[]> {
  const rows = await db.sql.query(sumStatements[by], [
    filter.appId,
    filter.test,
    filter.externalUserId ?? null,
    filter.model ?? null,
    filter.start ?? null,
    filter.end ?? null,
    filter.walletId ?? null,
  ]);
  return rows.map((row) => ({
    group: row.grouping === null ? null : String(row.grouping),
    requests: Number(toBigInt(row.requests)),
    promptTokens: Number(toBigInt(row.prompt_tokens)),
    completionTokens: Number(toBigInt(row.completion_tokens)),
    creditsUsed: toBigInt(row.credits_used),
  }));
}

const sumStatements = {
  day: sumStatement("day", `to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')`, "1 ASC"),
  model: sumStatement("model", "model", `5 DESC, model COLLATE "C"`),
  user: sumStatement("user", "external_user_id", `5 DESC, external_user_id COLLATE "C" NULLS FIRST`),
  all: sumStatement("all", "NULL::text", "1"),
};

function sumStatement(name: string, grouping: string, order: string) {
  return {
    name: `usage_sum_${name}`,
    text: `
      SELECT ${grouping} AS grouping, count(*) AS requests, coalesce(sum(prompt_tokens), 0)::bigint AS prompt_tokens,
        coalesce(sum(completion_tokens), 0)::bigint AS completion_tokens, coalesce(sum(base + markup), 0)::bigint AS credits_used
      FROM usage
      WHERE app_id = $1::uuid AND (billing_mode = 'test') = $2::bool AND outcome IN ('completed', 'interrupted')
        AND ($3::text IS NULL OR external_user_id = $3::text) AND ($4::text IS NULL OR model = $4::text)
        AND ($5::timestamptz IS NULL OR created_at >= $5::timestamptz) AND ($6::timestamptz IS NULL OR created_at < $6::timestamptz)
        AND ($7::uuid IS NULL OR wallet_id = $7::uuid)
      GROUP BY 1 ORDER BY ${order} LIMIT 1000`,
  };
}
