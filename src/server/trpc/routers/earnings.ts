import { z } from "zod";
import { balanceOf, underWay } from "../../ledger/accounts.ts";
import { database } from "../../platform/db.ts";
import { firstIdAt } from "../../platform/ids.ts";
import { report } from "../../usage/dashboard.ts";
import { longestRequestMs } from "../../usage/moments.ts";
import { periods, periodUntil } from "../../usage/period.ts";
import { sumsByHour, sumsByUser } from "../../usage/sums.ts";
import * as answers from "../answers.ts";
import { appProcedure, router } from "../trpc.ts";

export const earningsRouter = router({
  /**
   * `available` is the balance of the app's earnings account: the markup of settled requests,
   * credited in the commit that settles. `pending` is the markup that requests under way may
   * add at most, by what they hold.
   */
  balance: appProcedure.output(answers.earnings).query(async ({ ctx }) => {
    const { prisma, sql } = await database();
    const { earningsId } = await prisma.app.findUniqueOrThrow({ where: { id: ctx.app.id }, select: { earningsId: true } });
    const [{ balance }, pending] = await Promise.all([
      balanceOf(sql, earningsId),
      underWay(sql, ctx.app.id, firstIdAt(new Date(Date.now() - longestRequestMs()))),
    ]);
    return { available: balance, pending: pending.markup, pendingRequests: pending.requests };
  }),

  /** Earnings of a period for each hour or day, and by model and user: the 10 with the most of each. */
  report: appProcedure
    .input(z.object({ period: z.enum(periods).default("30d") }))
    .output(answers.earningsReport)
    .query(async ({ ctx, input }) => {
      const { sql } = await database();
      const period = periodUntil(input.period);
      const of = { appId: ctx.app.id, sandbox: false, from: period.from };
      const [chart, models, users] = await Promise.all([
        report(sql, { appId: ctx.app.id, sandbox: false }, period),
        sumsByHour(sql, of, "model", { limit: 10, billedOnly: true }),
        sumsByUser(sql, of, "user", { limit: 10, billedOnly: true }),
      ]);
      const brief = ({ group, requests, base, markup }: (typeof models)[number]) => ({ group, requests, base, markup });
      return { ...chart, models: models.map(brief), users: users.map(brief) };
    }),
});
