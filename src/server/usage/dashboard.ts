import type { Prisma, PrismaClient } from "../../generated/prisma/client.ts";
import { plainArray, type Sql, toBigInt } from "../platform/sql.ts";

// What an app's owner reads in the dashboard; src/server/usage/reports.ts is what the API answers.

/** What is shown of one request. Ledger accounts are never in it. */
export const requestItem = {
  id: true,
  apiKeyId: true,
  externalUserId: true,
  billingMode: true,
  held: true,
  base: true,
  markup: true,
  outcome: true,
  endpoint: true,
  model: true,
  provider: true,
  promptTokens: true,
  cachedTokens: true,
  completionTokens: true,
  countedBy: true,
  streamed: true,
  upstreamStatus: true,
  durationMs: true,
  createdAt: true,
} satisfies Prisma.UsageSelect;

export type RequestItem = Prisma.UsageGetPayload<{ select: typeof requestItem }>;

/** One page of an app's requests, newest first, begun before `before`. */
export async function requests(
  db: PrismaClient,
  ask: { appId: string; model?: string | undefined; externalUserId?: string | undefined; before?: string | undefined; take: number },
): Promise<Page<RequestItem>> {
  const rows = await db.usage.findMany({
    where: {
      appId: ask.appId,
      model: ask.model,
      externalUserId: ask.externalUserId,
      id: ask.before === undefined ? undefined : { lt: ask.before },
    },
    select: requestItem,
    orderBy: { id: "desc" },
    take: ask.take + 1,
  });
  return pageOf(rows, ask.take);
}

/** `next` is the cursor of the page after this one, when there is one. */
export type Page<Item> = { items: Item[]; next: string | null };

/** Cuts what was read with one row too many. */
export function pageOf<Item extends { id: string }>(rows: Item[], take: number): Page<Item> {
  const items = rows.slice(0, take);
  return { items, next: rows.length > take ? (items.at(-1)?.id ?? null) : null };
}

export type Day = { day: string; requests: number; spent: bigint; earned: bigint };
export type Totals = {
  requests: number;
  failed: number;
  promptTokens: bigint;
  completionTokens: bigint;
  /** What payers were billed, in credits. */
  spent: bigint;
  /** What came to the developer of it. */
  earned: bigint;
  /** Requests with sandbox keys, which are in none of the other figures. */
  sandboxRequests: number;
};

/** The last 30 days (UTC, today included) of an app, in all and day by day. */
export async function lastThirtyDays(sql: Sql, appId: string, now = new Date()): Promise<{ totals: Totals; days: Day[] }> {
  const since = thirtyDaysBefore(now);
  const rows = await sql.query(dailyStatement, [appId, firstIdAt(since), since.toISOString()]);
  const days = new Map<string, Day>();
  for (let at = since.getTime(); at <= now.getTime(); at += DAY_MS) {
    const day = new Date(at).toISOString().slice(0, 10);
    days.set(day, { day, requests: 0, spent: 0n, earned: 0n });
  }
  const totals: Totals = { requests: 0, failed: 0, promptTokens: 0n, completionTokens: 0n, spent: 0n, earned: 0n, sandboxRequests: 0 };
  for (const row of rows) {
    if (row.sandbox === true) {
      totals.sandboxRequests += Number(row.requests);
      continue;
    }
    totals.requests += Number(row.requests);
    totals.failed += Number(row.failed);
    totals.promptTokens += toBigInt(row.prompt_tokens);
    totals.completionTokens += toBigInt(row.completion_tokens);
    totals.spent += toBigInt(row.spent);
    totals.earned += toBigInt(row.earned);
    const day = days.get(String(row.day));
    if (day === undefined) continue;
    day.requests += Number(row.requests);
    day.spent += toBigInt(row.spent);
    day.earned += toBigInt(row.earned);
  }
  return { totals, days: [...days.values()] };
}

const dailyStatement = {
  name: "dashboard_daily",
  text: `
    SELECT to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day, billing_mode = 'test' AS sandbox,
      count(*)::int AS requests, (count(*) FILTER (WHERE outcome IN ('failed', 'swept')))::int AS failed,
      sum(prompt_tokens)::bigint AS prompt_tokens, sum(completion_tokens)::bigint AS completion_tokens,
      sum(base + markup)::bigint AS spent, sum(markup)::bigint AS earned
    FROM usage WHERE app_id = $1::uuid AND id >= $2::uuid AND created_at >= $3::timestamptz
    GROUP BY 1, 2`,
};

export type Health = {
  requests: number;
  failed: number;
  lastFailure: { at: Date; model: string; upstreamStatus: number | null; outcome: "failed" | "swept" } | null;
};

/** Whether an app works: its last hour, sandbox keys included. */
export async function lastHour(db: PrismaClient, appId: string, now = new Date()): Promise<Health> {
  const where = { appId, id: { gte: firstIdAt(new Date(now.getTime() - 60 * 60 * 1000)) } };
  const failing = { ...where, outcome: { in: ["failed", "swept"] } } satisfies Prisma.UsageWhereInput;
  const [requests, failed, last] = await Promise.all([
    db.usage.count({ where }),
    db.usage.count({ where: failing }),
    db.usage.findFirst({
      where: failing,
      orderBy: { id: "desc" },
      select: { createdAt: true, model: true, upstreamStatus: true, outcome: true },
    }),
  ]);
  if (last === null) return { requests, failed, lastFailure: null };
  const outcome = last.outcome === "swept" ? "swept" : "failed";
  return { requests, failed, lastFailure: { at: last.createdAt, model: last.model, upstreamStatus: last.upstreamStatus, outcome } };
}

/** The models that an app asked for in the last 30 days, by name. */
export async function modelsUsed(sql: Sql, appId: string, now = new Date()): Promise<string[]> {
  const rows = await sql.query(modelsStatement, [appId, firstIdAt(thirtyDaysBefore(now))]);
  return rows.map((row) => String(row.model));
}

const modelsStatement = {
  name: "dashboard_models",
  text: `SELECT DISTINCT model FROM usage WHERE app_id = $1::uuid AND id >= $2::uuid ORDER BY model LIMIT 200`,
};

/** What some linked users of an app spent there in the last 30 days, in credits; who spent nothing is absent. */
export async function spentByLinkedUser(
  sql: Sql,
  appId: string,
  linkedUserIds: readonly string[],
  now = new Date(),
): Promise<Map<string, bigint>> {
  if (linkedUserIds.length === 0) return new Map();
  const since = thirtyDaysBefore(now);
  const rows = await sql.query(spentStatement, [appId, firstIdAt(since), since.toISOString(), plainArray(linkedUserIds)]);
  return new Map(rows.map((row) => [String(row.linked_user_id), toBigInt(row.spent)]));
}

const spentStatement = {
  name: "dashboard_spent_by_linked_user",
  text: `
    SELECT linked_user_id, sum(base + markup)::bigint AS spent
    FROM usage WHERE app_id = $1::uuid AND id >= $2::uuid AND created_at >= $3::timestamptz AND linked_user_id = ANY ($4::uuid[])
    GROUP BY linked_user_id`,
};

const DAY_MS = 24 * 60 * 60 * 1000;

/** The first moment of the day (UTC) with which 30 days end today. */
function thirtyDaysBefore(now: Date): Date {
  return new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate()) - 29 * DAY_MS);
}

/**
 * The smallest UUIDv7 of a moment: ids sort by time, so a range of time is a range
 * of ids, and the index on (app, id) serves both.
 */
export function firstIdAt(moment: Date): string {
  const time = moment.getTime().toString(16).padStart(12, "0");
  return `${time.slice(0, 8)}-${time.slice(8)}-7000-8000-000000000000`;
}
