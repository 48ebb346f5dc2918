import { z } from "zod";
import { appItem, endFormerSecret, keepApp, registerApp, rotateClientSecret } from "../../apps/apps.ts";
import { deleteApp } from "../../connect/delete-app.ts";
import { unknownModel } from "../../gateway/available.ts";
import { openAccount } from "../../ledger/accounts.ts";
import { prisma, type Tx, transaction } from "../../platform/db.ts";
import { AppError } from "../../platform/errors.ts";
import { allModels } from "../../pricing/models.ts";
import { newestRequests } from "../../usage/newest-requests.ts";
import * as answers from "../answers.ts";
import * as fields from "../fields.ts";
import { appProcedure, noSuchApp, passwordInput, requireProof, router, userProcedure } from "../trpc.ts";

/** Apps of one user. Bounds the answer of `list`. */
const MOST_APPS = 200;

export const appsRouter = router({
  /** The user's apps, newest first. */
  list: userProcedure.output(answers.apps).query(async ({ ctx }) =>
    (await prisma()).app.findMany({
      where: { ownerId: ctx.user.id, deletedAt: null },
      select: { id: true, name: true, siteUrl: true, logoUrl: true, createdAt: true, _count: { select: { linkedUsers: true } } },
      orderBy: { id: "desc" },
      take: MOST_APPS,
    }),
  ),

  get: appProcedure.output(answers.app).query(({ ctx }) => ctx.app),

  /** Registers an app. Its client secret is only in this answer: the database has its hash. */
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

  /** Changes the members that are given. */
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
        await lockApp(tx, appId);
        const models = allowedModels && checkedModels(allowedModels, ctx.app.allowedModels);
        return tx.prisma.app.update({ where: { id: appId }, data: { ...changes, allowedModels: models }, select: appItem });
      }),
    ),

  /** Gives the app a new client secret, which is only in this answer. The former one works for `overlap` longer. */
  rotateSecret: appProcedure
    .input(z.object({ overlap: fields.overlap }))
    .output(answers.appWithSecret)
    .mutation(({ ctx, input }) =>
      transaction(async (tx) => {
        await lockApp(tx, ctx.app.id);
        return rotateClientSecret(tx, ctx.app.id, fields.overlaps[input.overlap].ms);
      }),
    ),

  /** Ends the former client secret before its overlap is over. */
  endFormerSecret: appProcedure.output(answers.nothing).mutation(({ ctx }) => transaction((tx) => endFormerSecret(tx, ctx.app.id))),

  /** Deletes the app for good. `confirm` is the app's name. */
  delete: appProcedure
    .input(z.object({ confirm: z.string().max(200), password: passwordInput }))
    .output(answers.nothing)
    .mutation(async ({ ctx, input }) => {
      if (input.confirm.trim() !== ctx.app.name) throw new AppError("bad_request", { message: `Type ${ctx.app.name} to go on.` });
      await requireProof(ctx, input.password);
      await deleteApp(ctx.app.id);
    }),

  /** The newest requests with every outcome. The page for a new app polls this until its first request. */
  newestRequests: appProcedure.output(answers.newestRequests).query(async ({ ctx }) => newestRequests(await prisma(), ctx.app.id)),
});

/** Locks the app against deletion until the transaction ends. */
async function lockApp(tx: Tx, appId: string): Promise<void> {
  if (!(await keepApp(tx, appId))) throw noSuchApp();
}

/** The chosen models without duplicates. Throws when the server does not know one, unless the app had chosen it before. */
function checkedModels(chosen: string[], before: string[]): string[] {
  const models = allModels();
  const unknown = chosen.find((id) => !models.has(id) && !before.includes(id));
  if (unknown !== undefined) throw unknownModel(unknown, "allowedModels");
  return [...new Set(chosen)];
}
