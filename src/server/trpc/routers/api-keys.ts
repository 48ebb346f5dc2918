import { z } from "zod";
import { endedKeys, hasMostKeys, MOST_KEYS, mint, revoke, roll, workingKeys } from "../../apps/api-keys.ts";
import { keepApp } from "../../apps/apps.ts";
import { writeUses } from "../../apps/last-used.ts";
import { database, prisma, type Tx, transaction } from "../../platform/db.ts";
import { AppError } from "../../platform/errors.ts";
import * as answers from "../answers.ts";
import * as fields from "../fields.ts";
import { appProcedure, noSuchApp, router } from "../trpc.ts";

export const apiKeysRouter = router({
  /** An app's keys that work, newest first. */
  list: appProcedure.output(answers.apiKeys).query(async ({ ctx }) => {
    const { prisma, sql } = await database();
    // This process keeps the latest uses in memory; they are written first so that the list has them.
    await writeUses(sql);
    return workingKeys(prisma, ctx.app.id);
  }),

  /** One page of the keys that were revoked or have expired, newest first. */
  ended: appProcedure
    .input(z.object({ cursor: z.uuid().nullish(), take: z.number().int().min(1).max(100).default(25) }))
    .output(answers.pageOf(answers.apiKey))
    .query(async ({ ctx, input }) => endedKeys(await prisma(), { appId: ctx.app.id, before: input.cursor ?? undefined, take: input.take })),

  /** Makes a key. Its secret is only in this answer: the database has its hash. */
  mint: appProcedure
    .input(
      z.object({
        name: fields.name,
        billingMode: z.enum(["developer", "user", "test"]),
        expiresAt: z
          .date()
          .nullable()
          .default(null)
          .refine((date) => date === null || date > new Date(), "Choose a time to come."),
      }),
    )
    .output(answers.apiKeyWithSecret)
    .mutation(({ ctx, input: { name, billingMode, expiresAt } }) =>
      transaction(async (tx) => {
        await checkKeyLimit(tx, ctx.app.id);
        return mint(tx.prisma, { appId: ctx.app.id, name, billingMode, expiresAt, createdById: ctx.user.id });
      }),
    ),

  /** Makes a successor of a key, which works for `overlap` longer. The secret is only in this answer. */
  roll: appProcedure
    .input(z.object({ apiKeyId: z.uuid(), overlap: fields.overlap }))
    .output(answers.rolledApiKey)
    .mutation(async ({ ctx, input }) => {
      const outcome = await transaction(async (tx) => {
        await checkKeyLimit(tx, ctx.app.id);
        const { apiKeyId, overlap } = input;
        return roll(tx, { appId: ctx.app.id, apiKeyId, overlapMs: fields.overlaps[overlap].ms, createdById: ctx.user.id });
      });
      if (outcome.kind === "rolled") return { secret: outcome.secret, key: outcome.key, endsAt: outcome.endsAt };
      if (outcome.kind === "missing") throw noSuchKey();
      throw new AppError("precondition_failed", {
        message:
          outcome.kind === "ended"
            ? "This key does not work any more. Make a new one."
            : "This key was rolled already. Roll its successor.",
      });
    }),

  /** Ends a key: the next request with it is refused. */
  revoke: appProcedure
    .input(z.object({ apiKeyId: z.uuid() }))
    .output(answers.nothing)
    .mutation(async ({ ctx, input }) => {
      if (!(await revoke(await prisma(), ctx.app.id, input.apiKeyId))) throw noSuchKey();
    }),
});

function noSuchKey(): AppError {
  return new AppError("not_found", { message: "There is no such key." });
}

async function checkKeyLimit(tx: Tx, appId: string): Promise<void> {
  if (!(await keepApp(tx, appId))) throw noSuchApp();
  if (await hasMostKeys(tx.prisma, appId))
    throw new AppError("precondition_failed", { message: `An app has at most ${MOST_KEYS} keys that work. Revoke some first.` });
}
