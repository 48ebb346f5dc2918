import type { Prisma, PrismaClient } from "../../generated/prisma/client.ts";
import { firstIdAt, idOfRequest } from "../platform/ids.ts";
import { type Sql, toBigInt } from "../platform/sql.ts";
import { longestRequestMs } from "./moments.ts";
import { DAY_MS, type Period, stepsOf } from "./period.ts";
import { momentOf, NO_API_KEY } from "./rollup.ts";
import { type Group, NOTHING, plus, type Sums, sumsByHour, sumsByUser, sumsOfUserByDay, walletsOf } from "./sums.ts";

// What the dashboard shows to an app's owner; reports.ts has what the API answers.

/** The columns of a request that may be shown. Ledger accounts are not among them. */
export const requestItem = {
  id: true,
  apiKeyId: true,
  externalUserId: true,
  billingMode: true,
  held: true,
  base: true,
  markup: true,
  shortfall: true,
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

/** Selects requests of an app. */
export type RequestFilter = {
  appId: string;
  /** true: only requests of `test` keys; false: only those paid with real credits. */
  sandbox?: boolean | undefined;
  model?: string | undefined;
  /** null: requests with a user's access token. */
  apiKeyId?: string | null | undefined;
  externalUserId?: string | undefined;
  outcome?: "billed" | "failed" | undefined;
  /** As shown: `req_…`. */
  requestId?: string | undefined;
  /** Settled at this time or later. */
  from?: Date | undefined;
};

const billed = ["completed", "interrupted"] as const;
const failed = ["failed", "swept"] as const;

/**
 * One page of an app's requests, newest first, with ids below `before`. With a filter that few
 * requests match, a page may have fewer items than asked for, or none, and still have a `next`: one
 * call looks through at most 30,000 requests.
 */
export async function requests(
  db: { prisma: PrismaClient; sql: Sql },
  filter: RequestFilter,
  page: { before?: string | undefined; take: number },
): Promise<Page<RequestItem>> {
  const { appId, sandbox, model, apiKeyId, externalUserId, outcome, requestId, from } = filter;
  const where: Prisma.UsageWhereInput = {
    appId,
    billingMode: sandbox === undefined ? undefined : sandbox ? "test" : { not: "test" },
    model,
    apiKeyId,
    externalUserId,
    outcome: outcome === undefined ? undefined : { in: outcome === "failed" ? [...failed] : [...billed] },
    createdAt: from === undefined ? undefined : { gte: from },
    AND: [
      page.before === undefined ? {} : { id: { lt: page.before } },
      from === undefined ? {} : { id: { gte: firstIdAt(new Date(from.getTime() - longestRequestMs())) } },
    ],
  };
  const read = (more: Prisma.UsageWhereInput) =>
    db.prisma.usage.findMany({ where: { ...where, ...more }, select: requestItem, orderBy: { id: "desc" }, take: page.take + 1 });
  if (requestId !== undefined) {
    const id = idOfRequest(requestId.trim());
    return { items: id === null ? [] : await read({ id }), next: null };
  }
  if (externalUserId !== undefined) {
    // Found by the wallets that paid: an index on the app's users would cost a write for every request.
    return pageOf(await read({ walletId: { in: await walletsOf(db.sql, appId, externalUserId) } }), page.take);
  }
  if (sandbox === undefined && model === undefined && apiKeyId === undefined && outcome === undefined)
    return pageOf(await read({}), page.take);
  const found = await search(db.sql, filter, page);
  const items =
    found.ids.length === 0
      ? []
      : await db.prisma.usage.findMany({ where: { id: { in: found.ids } }, select: requestItem, orderBy: { id: "desc" } });
  return { items: items.slice(0, page.take), next: items.length > page.take ? (items[page.take - 1]?.id ?? null) : found.nextBefore };
}

/** `next` is the `before` of the next page; null on the last one. */
export type Page<Item> = { items: Item[]; next: string | null };

/** Makes a page of `take` items from up to `take` + 1 rows. */
export function pageOf<Item extends { id: string }>(rows: Item[], take: number): Page<Item> {
  const items = rows.slice(0, take);
  return { items, next: rows.length > take ? (items.at(-1)?.id ?? null) : null };
}

const REQUESTS_AT_ONCE = 10_000;
const MOST_STATEMENTS = 3;

/**
 * The ids of the newest requests that match. Each of at most `MOST_STATEMENTS` statements looks through
 * `REQUESTS_AT_ONCE` requests; hours without a match by the sums are skipped. `nextBefore` is the
 * `before` of the next call, null at the end.
 */
async function search(
  sql: Sql,
  filter: RequestFilter,
  page: { before?: string | undefined; take: number },
): Promise<{ ids: string[]; nextBefore: string | null }> {
  const matching = [
    filter.appId,
    filter.sandbox ?? null,
    filter.model ?? null,
    filter.apiKeyId === undefined ? null : (filter.apiKeyId ?? NO_API_KEY),
    filter.outcome ?? null,
  ];
  const lowest = filter.from === undefined ? firstIdAt(new Date(0)) : firstIdAt(new Date(filter.from.getTime() - longestRequestMs()));
  const ids: string[] = [];
  let before = page.before ?? LAST_ID;
  for (let look = 0; look < MOST_STATEMENTS; look++) {
    // Requests that began before this time are in the sums, except those that a stopped server left open for more than a day.
    const summedBy = new Date(Math.min(timeOf(before) + DAY_MS, LAST_MOMENT));
    const [sums] = await sql.query(latestHourStatement, [...matching, summedBy.toISOString()]);
    if (sums !== undefined && momentOf(sums.until) > summedBy) {
      if (sums.hour === null) return { ids, nextBefore: null };
      // Ids have the time of the server that made them, whose clock may be ahead of the database's by up to this.
      const end = firstIdAt(new Date(momentOf(sums.hour).getTime() + HOUR_MS + CLOCKS_DIFFER_MS));
      if (end < before) before = end;
    }
    const [row] = await sql.query(searchStatement, [
      ...matching,
      before,
      lowest,
      filter.from?.toISOString() ?? null,
      REQUESTS_AT_ONCE,
      page.take + 1 - ids.length,
    ]);
    if (row?.ids) ids.push(...String(row.ids).split(","));
    const looked = Number(row?.looked ?? 0);
    if (looked < REQUESTS_AT_ONCE) return { ids, nextBefore: null };
    before = String(row?.lowest);
    if (ids.length > page.take) break;
  }
  return { ids, nextBefore: before };
}

const HOUR_MS = 60 * 60 * 1000;
const CLOCKS_DIFFER_MS = 5 * 60 * 1000;
const LAST_ID = "ffffffff-ffff-ffff-ffff-ffffffffffff";
const LAST_MOMENT = Date.UTC(9999, 0, 1);

function timeOf(id: string): number {
  return Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);
}

const latestHourStatement = {
  name: "dashboard_latest_hour",
  text: `
    SELECT f.until, (
      SELECT max(hour) FROM usage_hour
      WHERE app_id = $1::uuid AND ($2::bool IS NULL OR sandbox = $2::bool) AND ($3::text IS NULL OR model = $3::text)
        AND ($4::uuid IS NULL OR api_key_id = $4::uuid) AND hour <= $6::timestamptz
        AND CASE $5::text WHEN 'failed' THEN failed > 0 WHEN 'billed' THEN requests > 0 ELSE true END) AS hour
    FROM usage_fold f WHERE f.id = 1`,
};

const searchStatement = {
  name: "dashboard_search",
  text: `
    WITH looked AS MATERIALIZED (
      SELECT id, billing_mode, model, api_key_id, outcome, created_at FROM usage
      WHERE app_id = $1::uuid AND id < $6::uuid AND id >= $7::uuid ORDER BY id DESC LIMIT $9::int),
    found AS (
      SELECT id FROM looked
      WHERE ($2::bool IS NULL OR (billing_mode = 'test') = $2::bool) AND ($3::text IS NULL OR model = $3::text)
        AND ($4::uuid IS NULL OR coalesce(api_key_id, '${NO_API_KEY}'::uuid) = $4::uuid)
        AND ($5::text IS NULL OR (outcome IN ('failed', 'swept')) = ($5::text = 'failed'))
        AND ($8::timestamptz IS NULL OR created_at >= $8::timestamptz)
      ORDER BY id DESC LIMIT $10::int)
    SELECT (SELECT count(*)::int FROM looked) AS looked, (SELECT id::text FROM looked ORDER BY id LIMIT 1) AS lowest,
      (SELECT string_agg(id::text, ',' ORDER BY id DESC) FROM found) AS ids`,
};

/** One step of a chart. */
export type Step = Sums & { at: string };
export type Report = { from: Date; step: Period["step"]; steps: Step[]; totals: Sums };

/** Sums of an app's requests in a period, by step and in total; steps without requests have zeros. */
export async function report(
  sql: Sql,
  of: {
    appId: string;
    sandbox: boolean;
    model?: string | undefined;
    apiKeyId?: string | null | undefined;
    externalUserId?: string | undefined;
  },
  period: Period,
  now = new Date(),
): Promise<Report> {
  const { from, step } = period;
  const groups = await groupsOf();
  const byStep = new Map(groups.map((group) => [group.group, group]));
  // When the database's clock is ahead of this server's, its sums may have a further step.
  const names = [...new Set([...stepsOf(period, now), ...groups.map((group) => String(group.group))])].sort();
  return {
    from,
    step,
    steps: names.map((at) => {
      const { group: _, ...sums } = byStep.get(at) ?? { ...NOTHING, group: at };
      return { ...sums, at };
    }),
    totals: groups.reduce<Sums>(plus, NOTHING),
  };

  function groupsOf(): Promise<Group[]> {
    const { externalUserId, ...rest } = of;
    if (externalUserId === undefined) return sumsByHour(sql, { ...rest, from }, step);
    if (of.model === undefined && of.apiKeyId === undefined && step === "day")
      return sumsByUser(sql, { ...rest, from, externalUserIds: [externalUserId] }, step).then((groups) => groups.map(withoutLast));
    return sumsOfUserByDay(sql, { ...rest, externalUserId, from }, step);
  }
}

function withoutLast({ group, requests, failed, promptTokens, completionTokens, base, markup }: Group): Group {
  return { group, requests, failed, promptTokens, completionTokens, base, markup };
}

export type Health = {
  requests: number;
  failed: number;
  /** The last failed request of the 30 days. */
  lastFailure: {
    id: string;
    at: Date;
    model: string;
    upstreamStatus: number | null;
    provider: string | null;
    outcome: "failed" | "swept";
  } | null;
};

/** An app's requests and failures in the last hour, sandbox keys included, and its last failure in 30 days. */
export async function lastHour(db: { prisma: PrismaClient; sql: Sql }, appId: string, now = new Date()): Promise<Health> {
  const since = new Date(now.getTime() - HOUR_MS);
  const [[hour], { items }] = await Promise.all([
    db.sql.query(lastHourStatement, [appId, firstIdAt(new Date(since.getTime() - longestRequestMs())), since.toISOString()]),
    requests(db, { appId, outcome: "failed", from: new Date(now.getTime() - 30 * DAY_MS) }, { take: 1 }),
  ]);
  const [last] = items;
  return {
    requests: Number(toBigInt(hour?.requests ?? 0)),
    failed: Number(toBigInt(hour?.failed ?? 0)),
    lastFailure:
      last === undefined
        ? null
        : {
            id: last.id,
            at: last.createdAt,
            model: last.model,
            upstreamStatus: last.upstreamStatus,
            provider: last.provider,
            outcome: last.outcome === "swept" ? "swept" : "failed",
          },
  };
}

const lastHourStatement = {
  name: "dashboard_last_hour",
  text: `
    SELECT count(*) AS requests, count(*) FILTER (WHERE outcome IN ('failed', 'swept')) AS failed
    FROM usage WHERE app_id = $1::uuid AND id >= $2::uuid AND created_at >= $3::timestamptz`,
};
