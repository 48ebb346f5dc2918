import { z } from "zod";
import { database, prisma } from "../../platform/db.ts";
import { requestIdOf } from "../../platform/ids.ts";
import { lastHour, lastThirtyDays, modelsUsed, requests } from "../../usage/dashboard.ts";
import * as fields from "../fields.ts";
import { appProcedure, router } from "../trpc.ts";

export const usageRouter = router({
  /** Is it working, who uses it, what comes in. */
  overview: appProcedure.query(async ({ ctx }) => {
    const { prisma, sql } = await database();
    const appId = ctx.app.id;
    const [month, hour, linkedUsers] = await Promise.all([
      lastThirtyDays(sql, appId),
      lastHour(prisma, appId),
      prisma.linkedUser.count({ where: { appId } }),
    ]);
    return { ...month, hour, linkedUsers };
  }),

  /** One page of requests, newest first, with the key that each was made with. */
  requests: appProcedure
    .input(
      z.object({
        model: fields.filter.optional(),
        externalUserId: fields.filter.optional(),
        cursor: z.uuid().nullish(),
        take: z.number().int().min(1).max(100).default(50),
      }),
    )
    .query(async ({ ctx, input }) => {
      const db = await prisma();
      const { cursor, take, model, externalUserId } = input;
      const page = await requests(db, { appId: ctx.app.id, model, externalUserId, before: cursor ?? undefined, take });
      const keys = await db.apiKey.findMany({
        where: { appId: ctx.app.id, id: { in: [...new Set(page.items.flatMap((item) => item.apiKeyId ?? []))] } },
        select: { id: true, name: true, fragment: true },
      });
      const keyOf = new Map(keys.map((key) => [key.id, key]));
      return {
        next: page.next,
        items: page.items.map((item) => ({ ...item, requestId: requestIdOf(item.id), apiKey: keyOf.get(item.apiKeyId ?? "") ?? null })),
      };
    }),

  /** The models to filter by. */
  models: appProcedure.query(async ({ ctx }) => modelsUsed((await database()).sql, ctx.app.id)),
});
