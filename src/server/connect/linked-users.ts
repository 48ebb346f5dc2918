import type { Prisma } from "../../generated/prisma/client.ts";
import { balanceOf } from "../ledger/accounts.ts";
import { beginAgreement, limitState, lockAgreement, setLimit } from "../ledger/limits.ts";
import type { Database, Tx } from "../platform/db.ts";
import { hasUnseen } from "../platform/unseen.ts";
import type { DisconnectReason } from "../webhooks/events.ts";
import { emit } from "../webhooks/outbox.ts";
import { endGrantsOf } from "./grants.ts";

const PRINTABLE = /^(?!\s)[^\p{Cc}\p{Cs}]{1,255}(?<!\s)$/u;

/** 1 to 255 printable characters, without white space around them, which a header's value can't have. */
export function isExternalUserId(id: string): boolean {
  return PRINTABLE.test(id);
}

/**
 * Whether an app may link a user under this id. A new id must not have invisible
 * characters, because people can't tell two such ids apart. An id that the app has used
 * before stays valid.
 */
export async function mayLinkAs(tx: Tx, appId: string, externalUserId: string): Promise<boolean> {
  if (!hasUnseen(externalUserId)) return true;
  const where = { appId, externalUserId };
  const there = await tx.prisma.linkedUser.findFirst({ where, select: { id: true } });
  return there !== null || (await tx.prisma.formerLink.findFirst({ where, select: { id: true } })) !== null;
}

/** What an app may see of a linked user. Amounts in credits. */
export type LinkedUserView = {
  externalUserId: string;
  user: { id: string; email: string; balance: bigint };
  linkedAt: Date;
  walletId: string;
  /** Present when the user set a monthly limit for this app. Limit and spending are the same for all ids of the user in the app. */
  limit?: bigint;
  spent?: bigint;
};

const columns = {
  id: true,
  externalUserId: true,
  linkedAt: true,
  agreement: { select: { limitId: true, monthlyLimit: true, limitPeriodEndsAt: true, limitOverspent: true, limitElsewhere: true } },
  appId: true,
  walletId: true,
  user: { select: { id: true, email: true } },
} satisfies Prisma.LinkedUserSelect;
/** An app sees neither paused links nor those without `credits.read`. */
const VISIBLE = { pausedAt: null, scope: { contains: "credits.read" } } satisfies Prisma.LinkedUserWhereInput;
type Row = Prisma.LinkedUserGetPayload<{ select: typeof columns }>;

/** The linked user of this app with this id; null when there is none. */
export async function findLinkedUser(db: Database, appId: string, externalUserId: string): Promise<LinkedUserView | null> {
  const row = await db.prisma.linkedUser.findFirst({ where: { appId, externalUserId, ...VISIBLE }, select: columns });
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
    where: { appId, ...VISIBLE, ...(before === undefined ? {} : { id: { lt: before } }) },
    orderBy: { id: "desc" },
    take: page.limit + 1,
    select: columns,
  });
  return { data: await Promise.all(rows.slice(0, page.limit).map((row) => view(db, row))), hasMore: rows.length > page.limit };
}

/** What a user agreed to on the consent page. */
export type Agreement = {
  appId: string;
  userId: string;
  /** OAuth scopes, separated by spaces. */
  scope: string;
  /** Credits a month; null for no limit. */
  monthlyLimit: bigint | null;
  /** Empty means any. */
  allowedModels: string[];
  agreedMarkupBps: number;
};

export type Link = { id: string; externalUserId: string; user: { id: string; email: string }; linkedAt: Date };

/**
 * Links a user's wallet to an app under the app's own id for the user. When the id is
 * linked to the same user, only the agreement changes, and no event is emitted. A link of
 * another user is ended first: `user.disconnected`, then `user.connected`.
 */
export async function link(tx: Tx, externalUserId: string, agreement: Agreement): Promise<Link> {
  await lockForLink(tx, agreement);
  // Locked, so that it can't be unlinked between this query and the change.
  const [there] = await tx.prisma.$queryRaw<{ id: string; user_id: string }[]>`
    SELECT id, user_id FROM linked_user WHERE app_id = ${agreement.appId}::uuid AND external_user_id = ${externalUserId} FOR UPDATE`;
  if (there !== undefined && there.user_id === agreement.userId) return renew(tx, there.id, agreement);
  if (there !== undefined) await endLink(tx, { id: there.id, appId: agreement.appId, userId: there.user_id, externalUserId }, "replaced");
  return create(tx, { externalUserId, byToken: false }, agreement);
}

/** Links a user's wallet to an app that stores tokens itself. There is one such link for each user and app. */
export async function linkByToken(tx: Tx, externalUserId: string, agreement: Agreement): Promise<Link> {
  await lockForLink(tx, agreement);
  const [there] = await tx.prisma.$queryRaw<{ id: string }[]>`
    SELECT id FROM linked_user WHERE app_id = ${agreement.appId}::uuid AND user_id = ${agreement.userId}::uuid AND by_token FOR UPDATE`;
  return there !== undefined ? renew(tx, there.id, agreement) : create(tx, { externalUserId, byToken: true }, agreement);
}

/**
 * Locks the app's row, which serializes transactions that link to it; the user's row, so that neither is deleted before
 * the commit; and the agreement, which all links of the user to the app share. Throws when user or app is deleted.
 */
async function lockForLink(tx: Tx, agreement: Agreement): Promise<void> {
  const { appId, userId } = agreement;
  const there = await tx.prisma.$queryRaw<unknown[]>`
    SELECT id FROM "user" WHERE id = ${userId}::uuid AND deleted_at IS NULL FOR KEY SHARE`;
  if (there.length === 0) throw new Error("the account to link is gone");
  const app = await tx.prisma.$queryRaw<unknown[]>`
    SELECT id FROM app WHERE id = ${appId}::uuid AND deleted_at IS NULL FOR NO KEY UPDATE`;
  if (app.length === 0) throw new Error("the app to link to is gone");
  // Read after the lock: deleting an account deletes its apps first.
  const owner = await tx.prisma.user.findFirst({ where: { apps: { some: { id: appId } } }, select: { deletedAt: true } });
  if (owner === null || owner.deletedAt !== null) throw new Error("the app to link to is gone");
  await lockAgreement(tx, agreement);
}

const linkColumns = {
  id: true,
  externalUserId: true,
  linkedAt: true,
  user: { select: { id: true, email: true } },
} satisfies Prisma.LinkedUserSelect;

async function renew(tx: Tx, id: string, agreement: Agreement): Promise<Link> {
  const { scope } = agreement;
  // The consent page asks about limit, models and markup only with credits.spend.
  const spends = scope.split(" ").includes("credits.spend");
  const renewed = await tx.prisma.linkedUser.update({
    where: { id },
    // A new consent ends a pause.
    data: { scope, pausedAt: null },
    select: linkColumns,
  });
  if (spends) await setTerms(tx, id, agreement);
  return renewed;
}

/** Sets limit, models and markup of the agreement, which hold for every link of this user to the app. */
async function setTerms(tx: Tx, id: string, { appId, userId, monthlyLimit, allowedModels, agreedMarkupBps }: Agreement): Promise<void> {
  await setLimit(tx, id, monthlyLimit);
  await tx.prisma.agreement.update({ where: { userId_appId: { userId, appId } }, data: { allowedModels, agreedMarkupBps } });
}

/** Sets the models that a user allows an app, for all links between the two; an empty list allows any. */
export async function setModels(tx: Tx, of: { appId: string; userId: string }, allowedModels: string[]): Promise<void> {
  await lockAgreement(tx, of);
  await tx.prisma.agreement.update({ where: { userId_appId: { userId: of.userId, appId: of.appId } }, data: { allowedModels } });
}

async function create(tx: Tx, as: { externalUserId: string; byToken: boolean }, agreement: Agreement): Promise<Link> {
  const { appId, userId, scope, agreedMarkupBps } = agreement;
  const { walletId } = await tx.prisma.user.findUniqueOrThrow({ where: { id: userId }, select: { walletId: true } });
  await beginAgreement(tx, agreement, agreedMarkupBps);
  const created = await tx.prisma.linkedUser.create({
    data: { appId, userId, walletId, ...as, scope },
    select: linkColumns,
  });
  if (scope.split(" ").includes("credits.spend")) await setTerms(tx, created.id, agreement);
  await emit(tx, appId, {
    type: "user.connected",
    data: { user_id: userId, external_user_id: created.externalUserId, connected_at: created.linkedAt.toISOString() },
  });
  return created;
}

/**
 * Ends the link: from the next request on the app gets 404 for this id, and tokens
 * that act for it are refused. The user's account, balance and history stay.
 * Emits `user.disconnected`. False when the app has no such link.
 */
export async function unlink(tx: Tx, appId: string, externalUserId: string, reason: "app" | "user"): Promise<boolean> {
  const link = await tx.prisma.linkedUser.findUnique({
    where: { appId_externalUserId: { appId, externalUserId } },
    select: { id: true, userId: true },
  });
  return link !== null && endLink(tx, { ...link, appId, externalUserId }, reason);
}

/** Pauses all links of an app that is being deleted, until each is ended. */
export async function pauseAll(tx: Tx, appId: string): Promise<void> {
  // In id order, like `endConnections`, which ends links in that order.
  await tx.prisma.$executeRaw`
    WITH lk AS MATERIALIZED (SELECT id FROM linked_user WHERE app_id = ${appId}::uuid AND paused_at IS NULL ORDER BY id FOR UPDATE)
    UPDATE linked_user l SET paused_at = now() FROM lk WHERE l.id = lk.id`;
}

/** Ends up to `most` links of an app that was deleted; returns how many. */
export async function unlinkAll(tx: Tx, appId: string, most: number): Promise<number> {
  const links = await tx.prisma.linkedUser.findMany({
    where: { appId },
    select: { id: true, appId: true, userId: true, externalUserId: true },
    orderBy: { id: "asc" },
    take: most,
  });
  for (const link of links) await endLink(tx, link, "app");
  return links.length;
}

/** Ends a link with its grants and their tokens, and emits `user.disconnected`. False when the link does not exist any more. */
export async function endLink(
  tx: Tx,
  link: { id: string; appId: string; userId: string; externalUserId: string },
  reason: DisconnectReason,
): Promise<boolean> {
  // Of concurrent calls one deletes the row, and only that one emits the event.
  const { count } = await tx.prisma.linkedUser.deleteMany({ where: { id: link.id } });
  if (count === 0) return false;
  await tx.prisma.formerLink.create({ data: { id: link.id, appId: link.appId, externalUserId: link.externalUserId, reason } });
  await endGrantsOf(tx, link.id);
  await emit(tx, link.appId, {
    type: "user.disconnected",
    data: { user_id: link.userId, external_user_id: link.externalUserId, disconnected_at: new Date().toISOString(), reason },
  });
  return true;
}

/** The monthly limit of a link and what is spent of it, in credits; null when there is no limit. */
export async function linkLimit(db: Database, linkedUserId: string): Promise<{ limit: bigint; spent: bigint } | null> {
  const link = await db.prisma.linkedUser.findUnique({ where: { id: linkedUserId }, select: columns });
  return link === null ? null : limitState(db.sql, { ...link.agreement, ...link });
}

async function view(db: Database, row: Row): Promise<LinkedUserView> {
  const { balance } = await balanceOf(db.sql, row.walletId);
  const state = await limitState(db.sql, { ...row.agreement, ...row });
  return {
    externalUserId: row.externalUserId,
    user: { ...row.user, balance },
    linkedAt: row.linkedAt,
    walletId: row.walletId,
    ...(state ?? {}),
  };
}
