import { z } from "zod";
import { setModels, unlink } from "../../connect/linked-users.ts";
import { availableModels, unknownModel } from "../../gateway/available.ts";
import { balanceOf } from "../../ledger/accounts.ts";
import { lockAgreement, setLimit } from "../../ledger/limits.ts";
import { database, prisma, type Tx, transaction } from "../../platform/db.ts";
import { appsPaid, spentThisMonth, statement } from "../../usage/statement.ts";
import * as answers from "../answers.ts";
import * as fields from "../fields.ts";
import { linkProcedure, noSuchLink, router, userProcedure } from "../trpc.ts";

export const walletRouter = router({
  balance: userProcedure.output(answers.balance).query(async ({ ctx }) => balanceOf((await database()).sql, ctx.user.walletId)),

  /** One page of the wallet's requests and transfers, newest first. */
  statement: userProcedure
    .input(z.object({ appId: z.uuid().nullish(), cursor: z.uuid().nullish(), take: z.number().int().min(1).max(100).default(30) }))
    .output(answers.pageOf(answers.statementEntry))
    .query(async ({ ctx, input }) =>
      statement(await prisma(), {
        walletId: ctx.user.walletId,
        appId: input.appId ?? undefined,
        before: input.cursor ?? undefined,
        take: input.take,
      }),
    ),

  /** The apps to filter the statement by. */
  appsPaid: userProcedure.output(answers.appsPaid).query(async ({ ctx }) => appsPaid((await database()).sql, ctx.user.walletId)),

  /** The models that a user can restrict an app to. */
  models: userProcedure.output(answers.models).query(() => availableModels().map(({ id, provider }) => ({ id, provider }))),

  /**
   * The user's links, newest first. Limit and models are the same in all links to one app.
   * So is `spent`: what the app spent this month (UTC), through ended links too.
   */
  connectedApps: userProcedure.output(answers.connectedApps).query(async ({ ctx }) => {
    const { prisma, sql } = await database();
    const links = await prisma.linkedUser.findMany({
      where: { userId: ctx.user.id },
      select: {
        id: true,
        externalUserId: true,
        linkedAt: true,
        pausedAt: true,
        agreement: { select: { monthlyLimit: true, allowedModels: true } },
        app: { select: { id: true, name: true, siteUrl: true, logoUrl: true } },
      },
      orderBy: { id: "desc" },
      take: 200,
    });
    const { byApp, byLink } = await spentThisMonth(sql, ctx.user.walletId);
    return links.map(({ agreement, ...link }) => ({
      ...link,
      limit: agreement.monthlyLimit,
      allowedModels: agreement.allowedModels,
      spent: byApp.get(link.app.id) ?? 0n,
      lastUsedAt: byLink.get(link.id)?.lastUsedAt ?? null,
      /** The user's links to this app, this one included. */
      connections: links.filter(({ app }) => app.id === link.app.id).length,
    }));
  }),

  /** Sets the app's monthly limit, for all of the user's links to it; null removes it. */
  setLimit: linkProcedure
    .input(z.object({ monthlyLimit: fields.monthlyLimit.nullable() }))
    .output(answers.nothing)
    .mutation(({ ctx, input }) =>
      transaction(async (tx) => {
        await lockLink(tx, ctx.user.id, ctx.link);
        await setLimit(tx, ctx.link.id, input.monthlyLimit);
      }),
    ),

  /** Sets the models that the app may use, for all of the user's links to it; an empty list allows every model. */
  setModels: linkProcedure
    .input(z.object({ allowedModels: z.array(z.string().max(200)).max(500) }))
    .output(answers.nothing)
    .mutation(async ({ ctx, input }) => {
      const known = new Set([...availableModels().map(({ id }) => id), ...ctx.link.agreement.allowedModels]);
      const unknown = input.allowedModels.find((id) => !known.has(id));
      if (unknown !== undefined) throw unknownModel(unknown, null);
      await transaction(async (tx) => {
        await lockLink(tx, ctx.user.id, ctx.link);
        await setModels(tx, { appId: ctx.link.appId, userId: ctx.user.id }, [...new Set(input.allowedModels)]);
      });
    }),

  /** Until `resume`, /v1 answers the app as if the link did not exist. */
  pause: linkProcedure.output(answers.nothing).mutation(({ ctx }) => setPausedAt(ctx.link.id, new Date())),
  resume: linkProcedure.output(answers.nothing).mutation(({ ctx }) => setPausedAt(ctx.link.id, null)),

  /** Ends the link. A new one needs the user's consent. */
  disconnect: linkProcedure.output(answers.nothing).mutation(({ ctx }) =>
    transaction(async (tx) => {
      const link = await tx.prisma.linkedUser.findFirst({ where: { id: ctx.link.id }, select: { appId: true, externalUserId: true } });
      if (link === null || !(await unlink(tx, link.appId, link.externalUserId, "user"))) throw noSuchLink();
    }),
  ),
});

/** Locks the user's agreement with the app, which all links between the two share, until the transaction ends. Throws when this link has ended. */
async function lockLink(tx: Tx, userId: string, link: { id: string; appId: string }): Promise<void> {
  await lockAgreement(tx, { appId: link.appId, userId });
  if ((await tx.prisma.linkedUser.count({ where: { id: link.id } })) === 0) throw noSuchLink();
}

async function setPausedAt(linkId: string, pausedAt: Date | null): Promise<void> {
  const { count } = await (await prisma()).linkedUser.updateMany({ where: { id: linkId }, data: { pausedAt } });
  if (count === 0) throw noSuchLink();
}
