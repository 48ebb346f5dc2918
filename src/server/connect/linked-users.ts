import type { Prisma } from "../../generated/prisma/client.ts";
import { balanceOf } from "../ledger/accounts.ts";
import { limitState } from "../ledger/limits.ts";
import type { Database, Tx } from "../platform/db.ts";
import { emit } from "../webhooks/outbox.ts";

/** What an app may see of a person who linked their wallet to it. Credits. */
export type LinkedUserView = {
  externalUserId: string;
  user: { id: string; email: string; balance: bigint };
  linkedAt: Date;
  walletId: string;
  /** Present when the person set a monthly limit for this app. */
  limit?: bigint;
  spent?: bigint;
};

const columns = {
  id: true,
  externalUserId: true,
  linkedAt: true,
  limitId: true,
  monthlyLimit: true,
  limitPeriodEndsAt: true,
  limitOverspent: true,
  walletId: true,
  user: { select: { id: true, email: true } },
} satisfies Prisma.LinkedUserSelect;
type Row = Prisma.LinkedUserGetPayload<{ select: typeof columns }>;

/** The linked user that this app knows under this id; null when there is none, whoever else may know it. */
export async function findLinkedUser(db: Database, appId: string, externalUserId: string): Promise<LinkedUserView | null> {
  // A paused link is, for the app, as if it were not there.
  const row = await db.prisma.linkedUser.findFirst({ where: { appId, externalUserId, pausedAt: null }, select: columns });
  return row === null ? null : view(db, row);
}

/** The app's linked users, newest first. `startingAfter` is the external id of the last one seen; null when it is unknown. */
export async function listLinkedUsers(
  db: Database,
  appId: string,
  page: { limit: number; startingAfter?: string | undefined },
): Promise<{ data: LinkedUserView[]; hasMore: boolean } | null> {
  let before: string | undefined;
  if (page.startingAfter !== undefined) {
    const last = await db.prisma.linkedUser.findUnique({
      where: { appId_externalUserId: { appId, externalUserId: page.startingAfter } },
      select: { id: true },
    });
    if (last === null) return null;
    before = last.id;
  }
  const rows = await db.prisma.linkedUser.findMany({
    where: { appId, pausedAt: null, ...(before === undefined ? {} : { id: { lt: before } }) },
    orderBy: { id: "desc" },
    take: page.limit + 1,
    select: columns,
  });
  return { data: await Promise.all(rows.slice(0, page.limit).map((row) => view(db, row))), hasMore: rows.length > page.limit };
}

/**
 * Ends the link: from the next request on the app gets 404 for this id. The
 * person's account, balance and history stay. Emits `user.disconnected`. False
 * when the app has no such link.
 */
export async function unlink(tx: Tx, appId: string, externalUserId: string, reason: "app" | "user"): Promise<boolean> {
  const link = await tx.prisma.linkedUser.findUnique({
    where: { appId_externalUserId: { appId, externalUserId } },
    select: { id: true, userId: true },
  });
  if (link === null) return false;
  // Two that unlink at once: one deletes the row, and only that one tells of it.
  const { count } = await tx.prisma.linkedUser.deleteMany({ where: { id: link.id } });
  if (count === 0) return false;
  await emit(tx, appId, {
    type: "user.disconnected",
    data: { user_id: link.userId, external_user_id: externalUserId, disconnected_at: new Date().toISOString(), reason },
  });
  return true;
}

async function view(db: Database, row: Row): Promise<LinkedUserView> {
  const { balance } = await balanceOf(db.sql, row.walletId);
  const state = limitState(row, row.limitId === null ? null : (await balanceOf(db.sql, row.limitId)).balance);
  return {
    externalUserId: row.externalUserId,
    user: { ...row.user, balance },
    linkedAt: row.linkedAt,
    walletId: row.walletId,
    ...(state ?? {}),
  };
}
