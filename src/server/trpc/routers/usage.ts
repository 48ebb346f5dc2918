import { z } from "zod";
import { type Database, database } from "../../platform/db.ts";
import { requestIdOf } from "../../platform/ids.ts";
import { lastHour, type RequestFilter, report, requests } from "../../usage/dashboard.ts";
import { linksOf } from "../../usage/links.ts";
import { periods, periodUntil } from "../../usage/period.ts";
import { modelsAndKeys, sumsByHour, sumsByUser } from "../../usage/sums.ts";
import * as answers from "../answers.ts";
import * as fields from "../fields.ts";
import { appProcedure, router } from "../trpc.ts";

const period = z.enum(periods).default("30d");
/** A key's id, or `tokens` for requests with an access token. */
const apiKeyId = z.union([z.uuid(), z.literal("tokens")]).optional();

/** The filters that chart and log share. */
const filters = z.object({ model: fields.filter.optional(), externalUserId: fields.filter.optional(), apiKeyId });

export const usageRouter = router({
  /** Failures of the last hour; requests, earnings and links of the last 30 days (UTC, today included). */
  overview: appProcedure.output(answers.usageOverview).query(async ({ ctx }) => {
    const db = await database();
    const appId = ctx.app.id;
    const month = periodUntil("30d");
    const [real, [sandbox], health, links] = await Promise.all([
      report(db.sql, { appId, sandbox: false }, month),
      sumsByHour(db.sql, { appId, sandbox: true, from: month.from }, "all"),
      lastHour(db, appId),
      linksOf(db.prisma, appId, month.from),
    ]);
    return { ...real, sandboxRequests: (sandbox?.requests ?? 0) + (sandbox?.failed ?? 0), health, links };
  }),

  /** Requests, tokens, cost and earnings for each hour or day of a period, and their totals. */
  report: appProcedure
    .input(filters.extend({ period, sandbox: z.boolean().default(false) }))
    .output(answers.usageReport)
    .query(async ({ ctx, input }) =>
      report((await database()).sql, { ...input, ...keyOf(input.apiKeyId), appId: ctx.app.id }, periodUntil(input.period)),
    ),

  /** The same sums by model, user or API key, the most expensive first. */
  breakdown: appProcedure
    .input(
      z.object({
        period,
        sandbox: z.boolean().default(false),
        by: z.enum(["model", "user", "key"]),
        take: z.number().int().min(1).max(1000).default(10),
      }),
    )
    .output(answers.usageBreakdown)
    .query(async ({ ctx, input: { by, take, ...input } }) => {
      const db = await database();
      const of = { appId: ctx.app.id, sandbox: input.sandbox, from: periodUntil(input.period).from };
      const rows =
        by === "user" ? await sumsByUser(db.sql, of, by, { limit: take + 1 }) : await sumsByHour(db.sql, of, by, { limit: take + 1 });
      const names = by === "key" ? await keyNames(db, ctx.app.id) : null;
      return {
        more: rows.length > take,
        items: rows.slice(0, take).map(({ group, requests, failed, promptTokens, completionTokens, base, markup }) => ({
          group,
          key: group === null ? null : (names?.get(group) ?? null),
          requests,
          failed,
          promptTokens,
          completionTokens,
          base,
          markup,
        })),
      };
    }),

  /** One page of requests, newest first, with the key that each was made with and when its credits were held. */
  requests: appProcedure
    .input(
      filters.extend({
        sandbox: z.boolean().optional(),
        outcome: z.enum(["billed", "failed"]).optional(),
        requestId: fields.filter.optional(),
        period: z.enum(periods).optional(),
        cursor: z.uuid().nullish(),
        take: z.number().int().min(1).max(100).default(50),
      }),
    )
    .output(answers.pageOf(answers.request))
    .query(async ({ ctx, input }) => {
      const db = await database();
      const { cursor, take, period, apiKeyId, ...rest } = input;
      const filter: RequestFilter = {
        ...rest,
        ...keyOf(apiKeyId),
        appId: ctx.app.id,
        from: period === undefined ? undefined : periodUntil(period).from,
      };
      return requestPage(db, filter, { before: cursor ?? undefined, take });
    }),

  /** The models and keys to filter by: those of the last 30 days. */
  choices: appProcedure.output(answers.usageChoices).query(async ({ ctx }) => {
    const db = await database();
    const [used, names] = await Promise.all([modelsAndKeys(db.sql, ctx.app.id, periodUntil("30d").from), keyNames(db, ctx.app.id)]);
    return { models: used.models, keys: [...names].map(([id, key]) => ({ id, ...key })), tokens: used.keys.includes(null) };
  }),
});

/** A page of the request log, for the dashboard and the CSV export. */
export async function requestPage(db: Database, filter: RequestFilter, page: { before?: string | undefined; take: number }) {
  const { items, next } = await requests(db, filter, page);
  const [names, holds] = await Promise.all([
    items.length === 0 ? new Map<string, KeyName>() : keyNames(db, filter.appId),
    db.prisma.hold.findMany({ where: { id: { in: items.map(({ id }) => id) } }, select: { id: true, createdAt: true } }),
  ]);
  const heldAt = new Map(holds.map((hold) => [hold.id, hold.createdAt]));
  return {
    next,
    items: items.map((item) => ({
      ...item,
      requestId: requestIdOf(item.id),
      apiKey: names.get(item.apiKeyId ?? "") ?? null,
      heldAt: heldAt.get(item.id) ?? null,
    })),
  };
}

type KeyName = { name: string; fragment: string };

async function keyNames(db: Database, appId: string): Promise<Map<string, KeyName>> {
  const keys = await db.prisma.apiKey.findMany({
    where: { appId },
    select: { id: true, name: true, fragment: true },
    orderBy: { id: "desc" },
    take: 1000,
  });
  return new Map(keys.map(({ id, ...key }) => [id, key]));
}

function keyOf(chosen: string | undefined): { apiKeyId?: string | null } {
  return chosen === undefined ? {} : { apiKeyId: chosen === "tokens" ? null : chosen };
}
