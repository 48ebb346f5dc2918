import { v7 as uuidv7 } from "uuid";
import type { Tx } from "../platform/db.ts";
import { type Balance, balanceOf, openAccount, platformAccount } from "./accounts.ts";
import { transfer } from "./transfer.ts";

/**
 * A person's monthly spending limit for one app is an account of its own, held
 * together with the wallet, so that parallel requests can't race past it. Each
 * calendar month (UTC) fills it up to the limit again. An app may know one person
 * under several ids: those links share the limit. Each has all of it in its own row,
 * so that a hold reads no other.
 */

/**
 * Sets, changes or (with null) removes the limit of a linked user, in credits a
 * month, from the very next request on, and with it that of every other link of the
 * same person to the same app. What was spent this month counts against the new
 * limit. Throws when there is no such linked user or the limit is negative.
 */
export async function setLimit(tx: Tx, linkedUserId: string, monthlyLimit: bigint | null, now = new Date()): Promise<void> {
  if (monthlyLimit !== null && monthlyLimit < 0n) throw new RangeError("a limit is not negative");
  const link = await lockLink(tx, linkedUserId);
  if (link === null) throw new Error(`no linked user ${linkedUserId}`);
  if (monthlyLimit === null) {
    // The account stays, for its history and for requests that still hold from it.
    await share(tx, link, { limitId: null, monthlyLimit: null, limitPeriodEndsAt: null, limitOverspent: 0n, limitFormerIds: [] });
    return;
  }
  await fill(tx, link, monthlyLimit, now);
}

/** Fills the limit up when its month is over; does nothing when it is not, or when it was filled already. */
export async function refillLimit(tx: Tx, linkedUserId: string, now = new Date()): Promise<void> {
  const link = await lockLink(tx, linkedUserId);
  // Gone in the meantime: whoever asks again is told so.
  if (link === null) return;
  if (link.limitId === null || link.monthlyLimit === null || !isOver(link, now)) return;
  await fill(tx, link, link.monthlyLimit, now);
}

/**
 * What a new link of this person to this app has to begin with, so that it shares
 * their limit; nothing when it is the first. Until the transaction is over nobody
 * changes a link that there is, and whoever waits to do so sees the new one.
 */
export async function sharedLimit(tx: Tx, of: { appId: string; userId: string }): Promise<Partial<Limit>> {
  await lockLinks(tx, of);
  return (await tx.prisma.linkedUser.findFirst({ where: { appId: of.appId, userId: of.userId }, select: limitColumns })) ?? {};
}

/** Waits until nobody else changes a link of this person to this app; then nobody does until the transaction is over. */
export async function lockLinks(tx: Tx, { appId, userId }: { appId: string; userId: string }): Promise<void> {
  await tx.query(lockLinksStatement, [appId, userId]);
}

// In id order, so that two who change them can't wait for each other.
const lockLinksStatement = {
  name: "ledger_lock_linked_users",
  text: `SELECT id FROM linked_user WHERE app_id = $1::uuid AND user_id = $2::uuid ORDER BY id FOR UPDATE`,
};

/** A limit as people and apps see it, in credits; `spent` includes what requests under way have settled, not what they hold. */
export function limitState(
  link: { monthlyLimit: bigint | null; limitPeriodEndsAt: Date | null; limitOverspent: bigint },
  limitBalance: bigint | null,
  now = new Date(),
): { limit: bigint; spent: bigint } | null {
  if (link.monthlyLimit === null || limitBalance === null) return null;
  const spent = isOver(link, now) ? 0n : link.monthlyLimit + link.limitOverspent - limitBalance;
  return { limit: link.monthlyLimit, spent: spent < 0n ? 0n : spent };
}

export function endOfMonth(now: Date): Date {
  return new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1, 1));
}

/**
 * Makes what is left of the limit available: the limit, less what was spent this
 * month and what requests under way hold. When that is below zero, what they give
 * back must not become allowance again: then a new, empty account takes over until
 * the next month, and they settle against the old one.
 */
async function fill(tx: Tx, link: Link, monthlyLimit: bigint, now: Date): Promise<void> {
  const current = link.limitId === null ? null : await lockedBalance(tx, link.limitId);
  const former: { id: string; held: bigint }[] = [];
  for (const id of link.limitFormerIds) {
    const { held } = await balanceOf(tx, id);
    if (held > 0n) former.push({ id, held });
  }
  // In a new month only what is still held of the accounts given up; in the same one, all that they had spent and held.
  const spent =
    current === null || link.monthlyLimit === null || isOver(link, now)
      ? former.reduce((sum, { held }) => sum + held, 0n)
      : link.monthlyLimit + link.limitOverspent - current.balance;
  const allowed = monthlyLimit - spent - (current?.held ?? 0n);
  const keeps = link.limitId !== null && current !== null && (allowed >= 0n || current.held === 0n);
  const accountId = keeps && link.limitId !== null ? link.limitId : await openAccount(tx, "limit");
  const change = (allowed > 0n ? allowed : 0n) - (keeps ? (current?.available ?? 0n) : 0n);
  if (change !== 0n) {
    const outcome = await transfer(tx, {
      id: uuidv7(),
      debitId: change > 0n ? platformAccount.allowance : accountId,
      creditId: change > 0n ? accountId : platformAccount.allowance,
      amount: change > 0n ? change : -change,
      reason: "allowance",
    });
    if (outcome !== "applied") throw new Error(`limit ${accountId} could not be filled: ${outcome}`);
  }
  await share(tx, link, {
    limitId: accountId,
    monthlyLimit,
    limitPeriodEndsAt: endOfMonth(now),
    limitOverspent: allowed < 0n ? -allowed : 0n,
    limitFormerIds: [...former.map(({ id }) => id), ...(keeps || link.limitId === null ? [] : [link.limitId])],
  });
}

/** All links of this person to this app, also one that was made while their lock was waited for. */
async function share(tx: Tx, { appId, userId }: Link, limit: Limit): Promise<void> {
  await tx.prisma.linkedUser.updateMany({ where: { appId, userId }, data: limit });
}

type Limit = {
  limitId: string | null;
  monthlyLimit: bigint | null;
  limitPeriodEndsAt: Date | null;
  limitOverspent: bigint;
  limitFormerIds: string[];
};
type Link = Limit & { appId: string; userId: string };

const limitColumns = { limitId: true, monthlyLimit: true, limitPeriodEndsAt: true, limitOverspent: true, limitFormerIds: true };

/** Two changes of one limit come one after the other, through whichever link. */
async function lockLink(tx: Tx, linkedUserId: string): Promise<Link | null> {
  const where = { id: linkedUserId };
  // A link is the same person's and the same app's for as long as it lives.
  const of = await tx.prisma.linkedUser.findUnique({ where, select: { appId: true, userId: true } });
  if (of === null) return null;
  await lockLinks(tx, of);
  return tx.prisma.linkedUser.findUnique({ where, select: { appId: true, userId: true, ...limitColumns } });
}

function isOver(link: { limitPeriodEndsAt: Date | null }, now: Date): boolean {
  return link.limitPeriodEndsAt !== null && link.limitPeriodEndsAt <= now;
}

async function lockedBalance(tx: Tx, accountId: string): Promise<Balance> {
  await tx.query(lockAccountStatement, [accountId]);
  return balanceOf(tx, accountId);
}

const lockAccountStatement = {
  name: "ledger_lock_account",
  text: `SELECT id FROM account WHERE id = $1::uuid FOR NO KEY UPDATE`,
};
