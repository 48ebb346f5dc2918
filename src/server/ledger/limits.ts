import { v7 as uuidv7 } from "uuid";
import type { Tx } from "../platform/db.ts";
import { plainArray, type Sql, toBigInt } from "../platform/sql.ts";
import { type Balance, balanceOf, openAccount, platformAccount } from "./accounts.ts";
import { transfer } from "./transfer.ts";

/**
 * A person's monthly spending limit for one app is an account of its own, held
 * together with the wallet, so that parallel requests can't race past it. Each
 * calendar month (UTC) fills it up to the limit again. What counts against it is what
 * the app took from the person in that month by the books, whether or not there was a
 * limit at the time, and under whichever ids the app knew them: a limit that is lifted
 * and set again, or a link that ends and comes back, forgets nothing. Links of one
 * person to one app share the limit. Each has all of it in its own row, so that a hold
 * reads no other.
 */

/**
 * Sets, changes or (with null) removes the limit of a linked user, in credits a
 * month, from the very next request on, and with it that of every other link of the
 * same person to the same app. What was spent this month counts against the new
 * limit. Throws when there is no such linked user or the limit is negative.
 */
export async function setLimit(tx: Tx, linkedUserId: string, monthlyLimit: bigint | null, now?: Date): Promise<void> {
  if (monthlyLimit !== null && monthlyLimit < 0n) throw new RangeError("a limit is not negative");
  const link = await lockLink(tx, linkedUserId);
  if (link === null) throw new Error(`no linked user ${linkedUserId}`);
  if (monthlyLimit === null) {
    // The account stays, for its history and for requests that still hold from it.
    await share(tx, link, { limitId: null, monthlyLimit: null, limitPeriodEndsAt: null, limitOverspent: 0n, limitHeldElsewhere: 0n });
    return;
  }
  await fill(tx, link, monthlyLimit, now ?? (await databaseTime(tx)));
}

/** Fills the limit up when its month is over; does nothing when it is not, or when it was filled already. */
export async function refillLimit(tx: Tx, linkedUserId: string, now?: Date): Promise<void> {
  const link = await lockLink(tx, linkedUserId);
  // Gone in the meantime: whoever asks again is told so.
  if (link === null || link.limitId === null || link.monthlyLimit === null) return;
  // By the database's clock, which finds a month over: by one that is behind it would not be over, for ever.
  const at = now ?? (await databaseTime(tx));
  if (isOver(link, at)) await fill(tx, link, link.monthlyLimit, at);
}

/**
 * Makes allowance again of what requests held elsewhere when the limit was filled, and
 * did not spend: they began without a limit, or under an account that it gave up. True
 * when the limit may have more to give than before.
 */
export async function recountLimit(tx: Tx, linkedUserId: string): Promise<boolean> {
  const link = await lockLink(tx, linkedUserId);
  if (link === null || link.limitId === null || link.monthlyLimit === null || link.limitHeldElsewhere === 0n) return false;
  const now = await databaseTime(tx);
  // A new month is filled up anyway.
  if (isOver(link, now)) return false;
  const before = await lockAccounts(tx, link);
  await fill(tx, link, link.monthlyLimit, now);
  const after = await tx.prisma.linkedUser.findUnique({ where: { id: linkedUserId }, select: { limitId: true } });
  return after?.limitId != null && (await balanceOf(tx, after.limitId)).available > before.available;
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

/**
 * A limit as people and apps see it, in credits; null when there is none. `spent` is what the
 * app took since the month began, settled requests only, not what others hold. The limit's
 * account knows it, unless its month is over or requests held elsewhere when it was filled:
 * then the books are asked. `balance` is the account's, where the caller has read it already.
 */
export async function limitState(
  sql: Sql,
  link: Pick<Link, "appId" | "walletId" | "limitId" | "monthlyLimit" | "limitPeriodEndsAt" | "limitOverspent" | "limitHeldElsewhere">,
  options: { balance?: bigint | undefined; now?: Date } = {},
): Promise<{ limit: bigint; spent: bigint } | null> {
  const { monthlyLimit: limit, limitId } = link;
  if (limit === null || limitId === null) return null;
  const now = options.now ?? new Date();
  if (isOver(link, now) || link.limitHeldElsewhere > 0n) return { limit, spent: await spentSince(sql, link, startOfMonth(now)) };
  const spent = limit + link.limitOverspent - (options.balance ?? (await balanceOf(sql, limitId)).balance);
  return { limit, spent: spent < 0n ? 0n : spent };
}

async function databaseTime(sql: Sql): Promise<Date> {
  const [row] = await sql.query({ name: "ledger_now", text: `SELECT (extract(epoch FROM now()) * 1000)::bigint AS ms` }, []);
  return new Date(Number(toBigInt(row?.ms)));
}

export function startOfMonth(now: Date): Date {
  return new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), 1));
}

export function endOfMonth(now: Date): Date {
  return new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1, 1));
}

/**
 * Makes what is left of the limit available: the limit, less what the app took from this
 * person since the month began, and less what its requests under way hold. Both are read
 * from the books under the wallet's lock, so it makes no difference whether there was a
 * limit all the time, or which links there were. When more is held of the limit's account
 * than the limit allows, what those requests give back must not become allowance again:
 * then a new, empty account takes over, and they settle against the old one.
 */
async function fill(tx: Tx, link: Link, monthlyLimit: bigint, now: Date): Promise<void> {
  const balances = await lockAccounts(tx, link);
  const current = link.limitId === null ? null : { id: link.limitId, ...balances };
  const { spent, held } = await takenBy(tx, link, now);
  const heldHere = current?.held ?? 0n;
  const allowed = monthlyLimit - spent - held;
  const keeps = current !== null && (allowed >= 0n || heldHere === 0n) ? current : null;
  // What the old account could still give is no allowance of anything any more.
  if (current !== null && keeps === null) await allow(tx, current.id, -current.available);
  const accountId = keeps?.id ?? (await openAccount(tx, "limit"));
  const available = allowed > 0n ? allowed : 0n;
  await allow(tx, accountId, available - (keeps?.available ?? 0n));
  const balance = available + (keeps === null ? 0n : heldHere);
  await share(tx, link, {
    limitId: accountId,
    monthlyLimit,
    limitPeriodEndsAt: endOfMonth(now),
    // So that limit + this - balance is what was spent.
    limitOverspent: spent - monthlyLimit + balance,
    limitHeldElsewhere: held - (keeps === null ? 0n : heldHere),
  });
}

/** Adds to what a limit's account has available; below zero takes from it. */
async function allow(tx: Tx, accountId: string, change: bigint): Promise<void> {
  if (change === 0n) return;
  const outcome = await transfer(tx, {
    id: uuidv7(),
    debitId: change > 0n ? platformAccount.allowance : accountId,
    creditId: change > 0n ? accountId : platformAccount.allowance,
    amount: change > 0n ? change : -change,
    reason: "allowance",
  });
  if (outcome !== "applied") throw new Error(`limit ${accountId} could not be filled: ${outcome}`);
}

/**
 * What the app took from this person since the month (UTC) of `now` began, and what its
 * requests under way hold. Exact under the locks of `lockAccounts`: whoever holds or
 * settles needs the wallet.
 */
async function takenBy(tx: Tx, link: Link, now: Date): Promise<{ spent: bigint; held: bigint }> {
  const spent = await spentSince(tx, link, startOfMonth(now));
  const [open] = await tx.query(heldStatement, [link.appId, link.walletId, link.limitId]);
  return { spent, held: toBigInt(open?.held ?? 0) };
}

async function spentSince(sql: Sql, { appId, walletId }: Pick<Link, "appId" | "walletId">, since: Date): Promise<bigint> {
  const [row] = await sql.query(spentStatement, [appId, walletId, since.toISOString(), MONTH_SLACK_MS]);
  return toBigInt(row?.spent ?? 0);
}

/** A request's id is older than its settlement, by the longest request and by how far a server's clock is off. */
const MONTH_SLACK_MS = 24 * 60 * 60_000;

const idAt = (moment: string) => `(lpad(to_hex((extract(epoch FROM ${moment}) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid`;

const spentStatement = {
  name: "ledger_spent_of_month",
  text: `
    SELECT coalesce(sum(u.base + u.markup), 0)::bigint AS spent FROM usage u
    WHERE u.wallet_id = $2::uuid AND u.app_id = $1::uuid AND u.billing_mode = 'user' AND u.created_at >= $3::text::timestamptz
      AND u.id >= ${idAt("$3::text::timestamptz - $4::int * interval '1 millisecond'")}`,
};

// Where the wallet holds no more than the limit's account does, all of it is of this limit, and no hold has to be
// looked for. Otherwise those are read that the sweep has not left behind it as resolved, a few minutes of them.
const heldStatement = {
  name: "ledger_held_of_app",
  text: `
    WITH mark AS MATERIALIZED (
      SELECT coalesce((SELECT value->'memory' FROM setting WHERE key = 'turn_sweep' AND value ? 'memory'), '{}'::jsonb) AS swept),
    open AS (
      SELECT h.id, h.amount FROM hold h
      WHERE h.id > coalesce((SELECT (swept->>'after')::uuid FROM mark), '00000000-0000-0000-0000-000000000000')
        AND h.wallet_id = $2::uuid AND h.app_id = $1::uuid AND h.billing_mode = 'user'
      UNION
      SELECT h.id, h.amount FROM mark CROSS JOIN LATERAL jsonb_array_elements_text(coalesce(swept->'running', '[]'::jsonb)) r(id)
      JOIN hold h ON h.id = r.id::uuid
      WHERE h.wallet_id = $2::uuid AND h.app_id = $1::uuid AND h.billing_mode = 'user')
    SELECT CASE WHEN w.held = coalesce(l.held, 0) THEN w.held ELSE (
      SELECT coalesce(sum(o.amount + (SELECT coalesce(sum(g.amount), 0) FROM hold_growth g WHERE g.hold_id = o.id)), 0)::bigint
      FROM open o WHERE NOT EXISTS (SELECT 1 FROM usage u WHERE u.id = o.id)) END AS held
    FROM account w LEFT JOIN account l ON l.id = $3::uuid WHERE w.id = $2::uuid`,
};

/** All links of this person to this app, also one that was made while their lock was waited for. */
async function share(tx: Tx, { appId, userId }: Link, limit: Limit): Promise<void> {
  await tx.prisma.linkedUser.updateMany({ where: { appId, userId }, data: limit });
}

type Limit = {
  limitId: string | null;
  monthlyLimit: bigint | null;
  limitPeriodEndsAt: Date | null;
  limitOverspent: bigint;
  limitHeldElsewhere: bigint;
};
type Link = Limit & { appId: string; userId: string; walletId: string };

const limitColumns = { limitId: true, monthlyLimit: true, limitPeriodEndsAt: true, limitOverspent: true, limitHeldElsewhere: true };

/** Two changes of one limit come one after the other, through whichever link. */
async function lockLink(tx: Tx, linkedUserId: string): Promise<Link | null> {
  const where = { id: linkedUserId };
  // A link is the same person's and the same app's for as long as it lives.
  const of = await tx.prisma.linkedUser.findUnique({ where, select: { appId: true, userId: true } });
  if (of === null) return null;
  await lockLinks(tx, of);
  return tx.prisma.linkedUser.findUnique({ where, select: { appId: true, userId: true, walletId: true, ...limitColumns } });
}

function isOver(link: { limitPeriodEndsAt: Date | null }, now: Date): boolean {
  return link.limitPeriodEndsAt !== null && link.limitPeriodEndsAt <= now;
}

/** Locks the wallet and the limit's account, in id order like every ledger statement; what the latter has, if there is one. */
async function lockAccounts(tx: Tx, { walletId, limitId }: Link): Promise<Balance> {
  await tx.query(lockAccountsStatement, [plainArray(limitId === null ? [walletId] : [walletId, limitId])]);
  return limitId === null ? { balance: 0n, held: 0n, available: 0n } : balanceOf(tx, limitId);
}

const lockAccountsStatement = {
  name: "ledger_lock_accounts",
  text: `SELECT id FROM account WHERE id = ANY ($1::uuid[]) ORDER BY id FOR NO KEY UPDATE`,
};
