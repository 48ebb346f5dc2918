import { TRPCError } from "@trpc/server";
import { z } from "zod";
import { apiKeyListItem, mint, revoke } from "../../apps/api-keys.ts";
import { prisma } from "../../platform/db.ts";
import * as fields from "../fields.ts";
import { appProcedure, router } from "../trpc.ts";

const MOST_KEYS = 500;

export const apiKeysRouter = router({
  /** An app's keys, newest first, revoked ones included. */
  list: appProcedure.query(async ({ ctx }) =>
    (await prisma()).apiKey.findMany({ where: { appId: ctx.app.id }, select: apiKeyListItem, orderBy: { id: "desc" }, take: MOST_KEYS }),
  ),

  /** Makes a key. Its secret is in the answer and nowhere else, ever again. */
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
    .mutation(async ({ ctx, input }) => {
      const db = await prisma();
      if ((await db.apiKey.count({ where: { appId: ctx.app.id } })) >= MOST_KEYS) {
        throw new TRPCError({ code: "PRECONDITION_FAILED", message: `An app has at most ${MOST_KEYS} keys, revoked ones included.` });
      }
      return mint(db, { appId: ctx.app.id, name: input.name, billingMode: input.billingMode, expiresAt: input.expiresAt });
    }),

  /** Ends a key; the very next request with it is refused. */
  revoke: appProcedure.input(z.object({ apiKeyId: z.uuid() })).mutation(async ({ ctx, input }) => {
    if (!(await revoke(await prisma(), ctx.app.id, input.apiKeyId)))
      throw new TRPCError({ code: "NOT_FOUND", message: "There is no such key." });
  }),
});
