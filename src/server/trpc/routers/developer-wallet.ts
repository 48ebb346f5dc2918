import { z } from "zod";
import { balanceOf } from "../../ledger/accounts.ts";
import { database } from "../../platform/db.ts";
import { developerMonth, developerStatement } from "../../usage/developer.ts";
import * as answers from "../answers.ts";
import { router, userProcedure } from "../trpc.ts";

export const developerWalletRouter = router({
  /** The balance of the wallet that pays for developer keys and gifts, and what it paid in the last 30 days (UTC, today included). */
  overview: userProcedure.output(answers.developerOverview).query(async ({ ctx }) => {
    const db = await database();
    const [balance, month] = await Promise.all([balanceOf(db.sql, ctx.user.walletId), developerMonth(db, ctx.user)]);
    return { ...balance, ...month };
  }),

  /** One page of top-ups, gifts and requests with developer keys, newest first. */
  statement: userProcedure
    .input(
      z.object({
        show: z.enum(["everything", "requests", "funding"]).default("everything"),
        cursor: z.uuid().nullish(),
        take: z.number().int().min(1).max(100).default(30),
      }),
    )
    .output(answers.pageOf(answers.developerEntry))
    .query(async ({ ctx, input }) =>
      developerStatement(await database(), ctx.user, { show: input.show, before: input.cursor ?? undefined, take: input.take }),
    ),
});
