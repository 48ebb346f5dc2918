import { z } from "zod";
import { balanceOf } from "../../ledger/accounts.ts";
import { limitState } from "../../ledger/limits.ts";
import { database, prisma } from "../../platform/db.ts";
import { spentThisMonth, statement } from "../../usage/statement.ts";
import { router, userProcedure } from "../trpc.ts";

export const walletRouter = router({
  balance: userProcedure.query(async ({ ctx }) => balanceOf((await database()).sql, ctx.user.walletId)),

  /** One page of what moved this wallet's credits, newest first. */
  statement: userProcedure
    .input(z.object({ cursor: z.uuid().nullish(), take: z.number().int().min(1).max(100).default(30) }))
    .query(async ({ ctx, input }) =>
      statement(await prisma(), { walletId: ctx.user.walletId, before: input.cursor ?? undefined, take: input.take }),
    ),

  /** The apps that may spend from this wallet, newest first, with what they spent this month (UTC). */
  connectedApps: userProcedure.query(async ({ ctx }) => {
    const { prisma, sql } = await database();
    const links = await prisma.linkedUser.findMany({
      where: { userId: ctx.user.id },
      select: {
        id: true,
        externalUserId: true,
        linkedAt: true,
        pausedAt: true,
        monthlyLimit: true,
        limitPeriodEndsAt: true,
        limitOverspent: true,
        limitId: true,
        allowedModels: true,
        app: { select: { name: true, siteUrl: true, logoUrl: true } },
      },
      orderBy: { id: "desc" },
      take: 200,
    });
    const month = await spentThisMonth(sql, ctx.user.walletId);
    return Promise.all(
      links.map(async ({ limitId, limitPeriodEndsAt, limitOverspent, monthlyLimit, ...link }) => {
        const state = limitState(
          { monthlyLimit, limitPeriodEndsAt, limitOverspent },
          limitId === null ? null : (await balanceOf(sql, limitId)).balance,
        );
        const used = month.get(link.id);
        return { ...link, limit: monthlyLimit, spent: state?.spent ?? used?.spent ?? 0n, lastUsedAt: used?.lastUsedAt ?? null };
      }),
    );
  }),
});
