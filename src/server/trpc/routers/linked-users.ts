import { z } from "zod";
import { fundLinkedUser } from "../../connect/funding.ts";
import { unlink } from "../../connect/linked-users.ts";
import { balancesOf } from "../../ledger/accounts.ts";
import { limitState } from "../../ledger/limits.ts";
import { type Database, database, type Tx, transaction } from "../../platform/db.ts";
import { AppError, noLinkedUser } from "../../platform/errors.ts";
import { isUuid, newId } from "../../platform/ids.ts";
import { hasUnseenInWords } from "../../platform/unseen.ts";
import { type LinkItem, linkById, links } from "../../usage/links.ts";
import { DAY_MS, periods, periodUntil } from "../../usage/period.ts";
import { NOTHING, sumsByUser } from "../../usage/sums.ts";
import * as answers from "../answers.ts";
import * as fields from "../fields.ts";
import { appProcedure, router } from "../trpc.ts";

/** For one link of the app. Another app's link and an unknown id give the same error. */
const linkedUserProcedure = appProcedure.input(z.object({ linkedUserId: z.string() })).use(async ({ ctx, input, next }) => {
  const link = isUuid(input.linkedUserId) ? await linkById((await database()).sql, ctx.app.id, input.linkedUserId) : null;
  if (link === null) throw noLinkedUser();
  return next({ ctx: { link } });
});

export const linkedUsersRouter = router({
  /** One page of an app's linked users, newest first. Without balances: apps may read these with the scope `credits.read` only. */
  list: appProcedure
    .input(
      z.object({
        /** A part of the external id, or of the email address when the user shares it. */
        search: fields.filter.optional(),
        period: z.enum(periods).default("30d"),
        cursor: z.uuid().nullish(),
        take: z.number().int().min(1).max(100).default(50),
      }),
    )
    .output(answers.pageOf(answers.linkedUser))
    .query(async ({ ctx, input }) => {
      const db = await database();
      const page = await links(db.sql, {
        appId: ctx.app.id,
        search: input.search?.trim() || undefined,
        before: input.cursor ?? undefined,
        take: input.take,
      });
      const items = await withUsage(db, ctx.app.id, page.items, periodUntil(input.period).from);
      return { next: page.next, items };
    }),

  /** One linked user, with the sums of the last 30 days. `giftId` is the idempotency key for `fund`. */
  get: linkedUserProcedure.output(answers.linkedUserWithTerms).query(async ({ ctx }) => {
    const [item] = await withUsage(await database(), ctx.app.id, [ctx.link], periodUntil("30d").from);
    if (item === undefined) throw noLinkedUser();
    const { scope, allowedModels, agreedMarkupBps } = ctx.link;
    const { prisma } = await database();
    const link = await prisma.linkedUser.findUnique({ where: { id: ctx.link.id }, select: { userId: true } });
    if (link === null) throw noLinkedUser();
    return {
      ...item,
      scopes: scope.split(" "),
      allowedModels,
      agreedMarkupBps,
      giftId: newId(),
      /** The user's other links to this app, which share limit and models. */
      otherIds: await prisma.linkedUser.count({ where: { appId: ctx.app.id, userId: link.userId, id: { not: ctx.link.id } } }),
    };
  }),

  /** Ends the link: from the next request on the app has no such linked user, until the user connects again. */
  unlink: linkedUserProcedure.output(answers.nothing).mutation(({ ctx }) =>
    transaction(async (tx) => {
      await lockLink(tx, ctx.link.id);
      if (!(await unlink(tx, ctx.app.id, ctx.link.externalUserId, "app"))) throw noLinkedUser();
    }),
  ),

  /** Moves credits from the developer's wallet to the linked user's. Idempotent by `giftId`; another gift with the same id is refused. */
  fund: linkedUserProcedure
    .input(
      z.object({
        giftId: z.uuidv7().refine(isRecent, "This page is too old. Load it again."),
        amount: z.bigint().min(1n, "Give at least one credit.").max(1_000_000_000_000n, "Give at most $1,000,000 at once."),
        description: z
          .string()
          .trim()
          .max(200, "A note has at most 200 characters.")
          .refine((text) => !/\p{Cc}/u.test(text) && !hasUnseenInWords(text), "A note is one line of printable characters.")
          .optional(),
      }),
    )
    .output(answers.nothing)
    .mutation(({ ctx, input }) =>
      transaction(async (tx) => {
        const { pausedAt } = await lockLink(tx, ctx.link.id);
        // `fundLinkedUser` answers a pause with not_found, because /v1 hides pauses. The dashboard shows them.
        if (pausedAt !== null)
          throw new AppError("precondition_failed", {
            message: "This link is paused. It takes credits again when its owner resumes it.",
          });
        await fundLinkedUser(tx, {
          id: input.giftId,
          appId: ctx.app.id,
          fromWalletId: ctx.user.walletId,
          externalUserId: ctx.link.externalUserId,
          amount: input.amount,
          description: input.description || undefined,
        });
      }),
    ),
});

/** Locks the link until the transaction ends, so that its external id does not pass to another user. */
async function lockLink(tx: Tx, linkedUserId: string): Promise<{ pausedAt: Date | null }> {
  const [link] = await tx.prisma.linkedUser.updateManyAndReturn({
    where: { id: linkedUserId },
    data: { id: linkedUserId },
    select: { pausedAt: true },
  });
  if (link === undefined) throw noLinkedUser();
  return link;
}

/** Whether the time in an id is within 7 days of now. The client chooses the id, and statements are sorted by it. */
function isRecent(id: string): boolean {
  const madeAt = Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);
  return Math.abs(Date.now() - madeAt) < 7 * DAY_MS;
}

/** Adds what each link spent since `from`, the state of its limit, and its latest request. */
async function withUsage(db: Database, appId: string, items: LinkItem[], from: Date) {
  const externalUserIds = items.map(({ externalUserId }) => externalUserId);
  const of = { appId, sandbox: false, externalUserIds };
  const [spent, ever, limits] = await Promise.all([
    sumsByUser(db.sql, { ...of, from }, "user"),
    sumsByUser(db.sql, of, "user"),
    balancesOf(
      db.sql,
      items.flatMap(({ limitId }) => limitId ?? []),
    ),
  ]);
  const inPeriod = new Map(spent.map((group) => [group.group, group]));
  const lastAt = new Map(ever.map((group) => [group.group, group.lastAt]));
  const each = items.map(async (link) => {
    const { id, externalUserId, email, linkedAt, pausedAt } = link;
    const sums = inPeriod.get(externalUserId) ?? NOTHING;
    return {
      id,
      externalUserId,
      email,
      linkedAt,
      pausedAt,
      requests: sums.requests,
      spent: sums.base + sums.markup,
      earned: sums.markup,
      /** Of this month (UTC). */
      limit: await limitState(db.sql, link, { balance: limits.get(link.limitId ?? "") }),
      lastSeenAt: lastAt.get(externalUserId) ?? null,
    };
  });
  return Promise.all(each);
}
