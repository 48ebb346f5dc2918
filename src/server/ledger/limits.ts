import { v7 as uuidv7 } from "uuid";
import type { Tx } from "../platform/db.ts";
import { type Balance, balanceOf, openAccount, platformAccount } from "./accounts.ts";
import { transfer } from "./transfer.ts";

/**
 * A person's monthly spending limit for one app is an account of its own, held
 * together with the wallet, so that parallel requests can't race past it. Each
 * calendar month (UTC) fills it up to the limit again.
 */

/**
 * Sets, changes or (with null) removes the limit of a linked user, in credits a
 * month, from the very next request on. What was spent this month counts against
 * the new limit. Throws when there is no such linked user or the limit is negative.
 */
export async function setLimit(tx: Tx, linkedUserId: string, monthlyLimit: bigint | null, now = new Date()): Promise<void> {
  if (monthlyLimit !== null && monthlyLimit < 0n) throw new RangeError("a limit is not negative");
  const link = await lockLink(tx, linkedUserId);
  if (link === null) throw new Error(`no linked user ${linkedUserId}`);
  if (monthlyLimit === null) {
    // The account stays, for its history and for requests that still hold from it.
    await tx.prisma.linkedUser.update({
      where: { id: linkedUserId },
      data: { limitId: null, monthlyLimit: null, limitPeriodEndsAt: null, limitOverspent: 0n, limitFormerIds: [] },
    });
    return;
  }
  await fill(tx, linkedUserId, link, monthlyLimit, now);
}

/** Fills the limit up when its month is over; does nothing when it is not, or when it was filled already. */
export async function refillLimit(tx: Tx, linkedUserId: string, now = new Date()): Promise<void> {
  const link = await lockLink(tx, linkedUserId);
  // Gone in the meantime: whoever asks again is told so.
  if (link === null) return;
  if (link.limitId === null || link.monthlyLimit === null || !isOver(link, now)) return;
  await fill(tx, linkedUserId, link, link.monthlyLimit, now);
}

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
async function fill(tx: Tx, linkedUserId: string, link: Link, monthlyLimit: bigint, now: Date): Promise<void> {
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
  await tx.prisma.linkedUser.update({
    where: { id: linkedUserId },
    data: {
      limitId: accountId,
      monthlyLimit,
      limitPeriodEndsAt: endOfMonth(now),
      limitOverspent: allowed < 0n ? -allowed : 0n,
      limitFormerIds: [...former.map(({ id }) => id), ...(keeps || link.limitId === null ? [] : [link.limitId])],
    },
  });
}

type Link = {
  limitId: string | null;
  monthlyLimit: bigint | null;
  limitPeriodEndsAt: Date | null;
  limitOverspent: bigint;
  limitFormerIds: string[];
};

/** Two changes of one limit come one after the other. */
async function lockLink(tx: Tx, linkedUserId: string): Promise<Link | null> {
  await tx.query(lockLinkStatement, [linkedUserId]);
  return tx.prisma.linkedUser.findUnique({
    where: { id: linkedUserId },
    select: { limitId: true, monthlyLimit: true, limitPeriodEndsAt: true, limitOverspent: true, limitFormerIds: true },
  });
}

const lockLinkStatement = {
  name: "ledger_lock_linked_user",
  text: `SELECT id FROM linked_user WHERE id = $1::uuid FOR UPDATE`,
};

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
