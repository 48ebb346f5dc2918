import { TRPCError } from "@trpc/server";
import { z } from "zod";
import { appItem, registerApp } from "../../apps/apps.ts";
import { openAccount } from "../../ledger/accounts.ts";
import { prisma, transaction } from "../../platform/db.ts";
import * as fields from "../fields.ts";
import { appProcedure, router, userProcedure } from "../trpc.ts";

/** More than a person has; keeps one answer bounded. */
const MOST_APPS = 200;

export const appsRouter = router({
  /** This person's apps, newest first. */
  list: userProcedure.query(async ({ ctx }) =>
    (await prisma()).app.findMany({
      where: { ownerId: ctx.user.id },
      select: { id: true, name: true, siteUrl: true, createdAt: true, _count: { select: { linkedUsers: true } } },
      orderBy: { id: "desc" },
      take: MOST_APPS,
    }),
  ),

  get: appProcedure.query(({ ctx }) => ctx.app),

  /** Registers an app. Its client secret is in the answer and nowhere else, ever again. */
  create: userProcedure
    .input(z.object({ name: fields.name, siteUrl: fields.siteUrl.nullable().default(null) }))
    .mutation(({ ctx, input }) =>
      transaction(async (tx) => {
        if ((await tx.prisma.app.count({ where: { ownerId: ctx.user.id } })) >= MOST_APPS) {
          throw new TRPCError({ code: "PRECONDITION_FAILED", message: `A person has at most ${MOST_APPS} apps.` });
        }
        return registerApp(tx, {
          ...input,
          ownerId: ctx.user.id,
          earningsId: await openAccount(tx, "earnings"),
          sandboxWalletId: await openAccount(tx, "sandbox_wallet"),
        });
      }),
    ),

  /** Changes what is given and leaves the rest. */
  update: appProcedure
    .input(
      z.object({
        name: fields.name.optional(),
        siteUrl: fields.siteUrl.nullable().optional(),
        redirectUris: fields.redirectUris.optional(),
        publicClient: z.boolean().optional(),
        markupBps: fields.markupBps.optional(),
      }),
    )
    .mutation(async ({ ctx, input: { appId: _, ...changes } }) =>
      (await prisma()).app.update({ where: { id: ctx.app.id }, data: changes, select: appItem }),
    ),
});
