import { z } from "zod";
import { appItem, endFormerSecret, keepApp, registerApp, rotateClientSecret } from "../../apps/apps.ts";
import { deleteApp } from "../../connect/delete-app.ts";
import { openAccount } from "../../ledger/accounts.ts";
import { prisma, type Tx, transaction } from "../../platform/db.ts";
import { AppError, noSuchModel } from "../../platform/errors.ts";
import { allModels } from "../../pricing/models.ts";
import { newestRequests } from "../../usage/newest-requests.ts";
import * as answers from "../answers.ts";
import * as fields from "../fields.ts";
import { appProcedure, givenPassword, mustProve, noSuchApp, router, userProcedure } from "../trpc.ts";

/** More than a person has; keeps one answer bounded. */
const MOST_APPS = 200;

export const appsRouter = router({
  /** This person's apps, newest first. */
  list: userProcedure.output(answers.apps).query(async ({ ctx }) =>
    (await prisma()).app.findMany({
      where: { ownerId: ctx.user.id, deletedAt: null },
      select: { id: true, name: true, siteUrl: true, logoUrl: true, createdAt: true, _count: { select: { linkedUsers: true } } },
      orderBy: { id: "desc" },
      take: MOST_APPS,
    }),
  ),

  get: appProcedure.output(answers.app).query(({ ctx }) => ctx.app),

  /** Registers an app. Its client secret is in the answer and nowhere else, ever again. */
  create: userProcedure
    .input(z.object({ name: fields.name, siteUrl: fields.siteUrl.nullable().default(null) }))
    .output(answers.appWithSecret)
    .mutation(({ ctx, input }) =>
      transaction(async (tx) => {
        if ((await tx.prisma.app.count({ where: { ownerId: ctx.user.id, deletedAt: null } })) >= MOST_APPS) {
          throw new AppError("precondition_failed", { message: `A person has at most ${MOST_APPS} apps.` });
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
        logoUrl: fields.logoUrl.nullable().optional(),
        redirectUris: fields.redirectUris.optional(),
        publicClient: z.boolean().optional(),
        scopes: fields.scopes.optional(),
        markupBps: fields.markupBps.optional(),
        allowedModels: fields.allowedModels.optional(),
      }),
    )
    .output(answers.app)
    .mutation(({ ctx, input: { appId, allowedModels, ...changes } }) =>
      transaction(async (tx) => {
        await stillThere(tx, appId);
        const models = allowedModels && onlyKnown(allowedModels, ctx.app.allowedModels);
        return tx.prisma.app.update({ where: { id: appId }, data: { ...changes, allowedModels: models }, select: appItem });
      }),
    ),

  /** Gives the app a new client secret; the one before it works a while longer. It is in the answer and nowhere else, ever again. */
  rotateSecret: appProcedure
    .input(z.object({ overlap: fields.overlap }))
    .output(answers.appWithSecret)
    .mutation(({ ctx, input }) =>
      transaction(async (tx) => {
        await stillThere(tx, ctx.app.id);
        return rotateClientSecret(tx, ctx.app.id, fields.overlaps[input.overlap].ms);
      }),
    ),

  /** Ends the client secret that was rotated out, before its time. */
  endFormerSecret: appProcedure.output(answers.nothing).mutation(({ ctx }) => transaction((tx) => endFormerSecret(tx, ctx.app.id))),

  /** Deletes the app for good; its owner types its name to show that they mean it. */
  delete: appProcedure
    .input(z.object({ confirm: z.string().max(200), password: givenPassword }))
    .output(answers.nothing)
    .mutation(async ({ ctx, input }) => {
      if (input.confirm.trim() !== ctx.app.name) throw new AppError("bad_request", { message: `Type ${ctx.app.name} to go on.` });
      await mustProve(ctx, input.password);
      await deleteApp(ctx.app.id);
    }),

  /** The newest requests, whatever came of them, for whoever waits for the first one. */
  newestRequests: appProcedure.output(answers.newestRequests).query(async ({ ctx }) => newestRequests(await prisma(), ctx.app.id)),
});

async function stillThere(tx: Tx, appId: string): Promise<void> {
  if (!(await keepApp(tx, appId))) throw noSuchApp();
}

/** Each model once. One that was chosen before may stay when this server no longer has it. */
function onlyKnown(chosen: string[], before: string[]): string[] {
  const models = allModels();
  const unknown = chosen.find((id) => !models.has(id) && !before.includes(id));
  if (unknown !== undefined) throw noSuchModel(unknown, "allowedModels");
  return [...new Set(chosen)];
}
