import { z } from "zod";
import { database } from "../../platform/db.ts";
import { pageOf, spentByLinkedUser } from "../../usage/dashboard.ts";
import * as fields from "../fields.ts";
import { appProcedure, router } from "../trpc.ts";

export const linkedUsersRouter = router({
  /** One page of an app's linked users, newest first. Not their balance: that is theirs to show. */
  list: appProcedure
    .input(
      z.object({
        externalUserId: fields.filter.optional(),
        cursor: z.uuid().nullish(),
        take: z.number().int().min(1).max(100).default(50),
      }),
    )
    .query(async ({ ctx, input }) => {
      const { prisma, sql } = await database();
      const appId = ctx.app.id;
      const search = input.externalUserId?.trim();
      const rows = await prisma.linkedUser.findMany({
        where: {
          appId,
          externalUserId: search ? { contains: escapeLike(search), mode: "insensitive" } : undefined,
          id: input.cursor ? { lt: input.cursor } : undefined,
        },
        select: { id: true, externalUserId: true, linkedAt: true, monthlyLimit: true, pausedAt: true, user: { select: { email: true } } },
        orderBy: { id: "desc" },
        take: input.take + 1,
      });
      const { items, next } = pageOf(rows, input.take);
      const spent = await spentByLinkedUser(
        sql,
        appId,
        items.map((item) => item.id),
      );
      return {
        next,
        items: items.map(({ user, ...link }) => ({ ...link, email: user.email, spent: spent.get(link.id) ?? 0n })),
      };
    }),
});

/** `user_1` asks for that text, not for any character in place of the underscore. */
function escapeLike(text: string): string {
  return text.replace(/[\\%_]/g, "\\$&");
}
