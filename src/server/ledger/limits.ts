import { v7 as uuidv7 } from "uuid";
import type { Tx } from "../platform/db.ts";
import { firstIdAt } from "../platform/ids.ts";
import { plainArray, type Sql, toBigInt } from "../platform/sql.ts";
import { balanceOf, openAccount, platformAccount } from "./accounts.ts";
import { openSince } from "./sweep.ts";
import { transfer } from "./transfer.ts";

/**
 * A person's monthly spending limit for one app is an account of its own, held
 * together with the wallet, so that parallel requests can't race past it. Whenever
 * it is filled (it is set, its month is over, it is recounted), what the app took
 * from this person in the calendar month (UTC) is read from the books: what was
 * settled, and what open requests hold, under whichever links. So nothing that
 * happens to limit or links makes it forget.
 *
 * Limit, account and month are the agreement's of person and app, which all their links point to.
 */

/**
 * Sets, changes or (with null) removes the limit of a linked user, in credits a
 * month, from the very next request on, and with it that of every other link of the
 * same person to the same app. What the app took this month counts against the new
 * limit. Throws when there is no such linked user or the limit is negative.
 * `now`: the moment whose month it is; the database's when not given.
 */
export async function setLimit(tx: Tx, linkedUserId: string, monthlyLimit: bigint | null, now?: Date): Promise<void> {
  if (monthlyLimit !== null && monthlyLimit < 0n) throw new RangeError("a limit is not negative");
  const agreement = await lockAgreementOf(tx, linkedUserId);
  if (agreement === null) throw new Error(`no linked user ${linkedUserId}`);
  if (monthlyLimit !== null) return fill(tx, agreement, monthlyLimit, now ?? (await databaseTime(tx)));
  await removeLimit(tx, agreement);
}

/** Fills the limit up when its month is over; does nothing when it is not, or when it was filled already. */
export async function refillLimit(tx: Tx, linkedUserId: string, now?: Date): Promise<void> {
  const agreement = await lockAgreementOf(tx, linkedUserId);
  // Gone in the meantime: whoever asks again is told so.
  if (agreement === null || agreement.inForce === null) return;
  const at = now ?? (await databaseTime(tx));
  if (agreement.inForce.endsAt > at) return;
  await fill(tx, agreement, agreement.inForce.monthlyLimit, at);
}

/**
 * Whether a limit that refused a request is worth asking again. `isDue`: requests that it
 * counts, and whose credits can't come back to its account by themselves, were resolved
 * since it was last counted, so what they gave back is missing in it until `recountLimit`.
 * They only get fewer, so this is true at most once for each of them. `available`: what the
 * limit leaves now. Null when there is no such linked user or no limit.
 */
export async function limitStanding(sql: Sql, linkedUserId: string): Promise<{ isDue: boolean; available: bigint } | null> {
  const [row] = await sql.query(standingStatement, [linkedUserId]);
  return row === undefined ? null : { isDue: row.due === true, available: toBigInt(row.available) };
}

/** Counts the limit anew when that is due. */
export async function recountLimit(tx: Tx, linkedUserId: string): Promise<void> {
  const agreement = await lockAgreementOf(tx, linkedUserId);
  if (agreement === null || agreement.inForce === null) return;
  const now = await databaseTime(tx);
  // Whoever asks when the month is over has it refilled, which counts as well.
  if (agreement.inForce.endsAt <= now || (await limitStanding(tx, linkedUserId))?.isDue !== true) return;
  await fill(tx, agreement, agreement.inForce.monthlyLimit, now);
}

const standingStatement = {
  name: "ledger_limit_standing",
  text: `
    SELECT a.available, g.limit_elsewhere > 0 AND g.limit_elsewhere >
      (SELECT coalesce(sum(f.held), 0) FROM account f WHERE f.id = ANY (g.limit_former_ids)) + (
        SELECT coalesce(sum(h.amount + (SELECT coalesce(sum(p.amount), 0) FROM hold_growth p WHERE p.hold_id = h.id)), 0)
        FROM unnest(g.limit_elsewhere_holds) q(id) JOIN LATERAL (SELECT h.* FROM hold h WHERE h.id = q.id OFFSET 0) h ON true
        LEFT JOIN LATERAL (SELECT 1 AS there FROM usage u WHERE u.id = h.id OFFSET 0) u ON true WHERE u.there IS NULL) AS due
    FROM linked_user l JOIN agreement g ON g.user_id = l.user_id AND g.app_id = l.app_id
    JOIN account a ON a.id = limit_in_force(g.monthly_limit, g.limit_id)
    WHERE l.id = $1::uuid`,
};

/**
 * Locks the agreement before a link is made. The first link begins it anew: without a limit, for any model, with this
 * markup. Others come under what is agreed.
 */
export async function beginAgreement(tx: Tx, of: { appId: string; userId: string }, agreedMarkupBps: number): Promise<void> {
  const { appId, userId } = of;
  await lockAgreement(tx, of);
  if ((await tx.prisma.linkedUser.findFirst({ where: { appId, userId }, select: { id: true } })) !== null) return;
  await removeLimit(tx, of);
  await tx.prisma.agreement.update({ where: { userId_appId: { userId, appId } }, data: { allowedModels: [], agreedMarkupBps } });
}

/** Locks what this person agreed to with this app until the end of the transaction; makes the row when there is none. */
export async function lockAgreement(tx: Tx, { appId, userId }: { appId: string; userId: string }): Promise<void> {
  await tx.query(openAgreementStatement, [userId, appId]);
  await tx.query(lockAgreementStatement, [userId, appId]);
}

const openAgreementStatement = {
  name: "ledger_open_agreement",
  text: `INSERT INTO agreement (user_id, app_id) VALUES ($1::uuid, $2::uuid) ON CONFLICT DO NOTHING`,
};
// Not FOR UPDATE: making a link locks the key of the agreement that it points to.
const lockAgreementStatement = {
  name: "ledger_lock_agreement",
  text: `SELECT 1 AS found FROM agreement WHERE user_id = $1::uuid AND app_id = $2::uuid FOR NO KEY UPDATE`,
};

/**
 * A limit as people and apps see it, in credits; null when there is none. `spent` is what was
 * settled this month (UTC), not what requests under way hold. `balance` is that of the limit's
 * account, where the caller has read it already.
 */
export async function limitState(
  sql: Sql,
  link: Limit & { appId: string; walletId: string },
  options: { balance?: bigint | undefined; now?: Date } = {},
): Promise<{ limit: bigint; spent: bigint } | null> {
  const { monthlyLimit: limit, limitId, limitPeriodEndsAt } = link;
  if (limit === null || limitId === null || limitPeriodEndsAt === null) return null;
  const now = options.now ?? new Date();
  // While all that is spent passes through the account, the account knows; else it is added up.
  if (limitPeriodEndsAt <= now || link.limitElsewhere > 0n) return { limit, spent: await spentInMonth(sql, link, now) };
  const spent = limit + link.limitOverspent - (options.balance ?? (await balanceOf(sql, limitId)).balance);
  return { limit, spent: spent < 0n ? 0n : spent };
}

export function startOfMonth(now: Date): Date {
  return new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), 1));
}

export function endOfMonth(now: Date): Date {
  return new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1, 1));
}

async function databaseTime(sql: Sql): Promise<Date> {
  const [row] = await sql.query({ name: "ledger_now", text: `SELECT (extract(epoch FROM now()) * 1000)::bigint AS ms` }, []);
  return new Date(Number(toBigInt(row?.ms)));
}

/** What an app's requests took from a person's wallet in the month of this moment, as far as they are settled. */
async function spentInMonth(sql: Sql, { appId, walletId }: { appId: string; walletId: string }, now: Date): Promise<bigint> {
  const start = startOfMonth(now);
  // A request belongs to the month in which it was settled. It began before that, by the clock of a server that may be behind.
  const firstId = firstIdAt(startOfMonth(new Date(start.getTime() - 1)).getTime());
  const [row] = await sql.query(spentStatement, [walletId, firstId, start.toISOString(), appId]);
  return toBigInt(row?.spent);
}

const spentStatement = {
  name: "ledger_spent_in_month",
  text: `
    SELECT coalesce(sum(base + markup), 0)::bigint AS spent FROM usage
    WHERE wallet_id = $1::uuid AND id >= $2::uuid AND created_at >= $3::timestamptz AND app_id = $4::uuid AND billing_mode = 'user'`,
};

/**
 * Makes what is left of the limit available: the limit, less what was spent this month
 * and what requests under way hold. When that is below zero, what they give back must
 * not become allowance again: then a new, empty account takes over, and they settle
 * against the old one. The wallet is locked, so that nothing of it is held or settled
 * between counting and the commit.
 */
async function fill(tx: Tx, agreement: LockedAgreement, monthlyLimit: bigint, now: Date): Promise<void> {
  const { walletId, limitId } = agreement;
  const candidates = await openOutside(tx, agreement);
  await tx.query(lockAccountsStatement, [plainArray(limitId === null ? [walletId] : [walletId, limitId])]);
  const held = await heldBy(tx, agreement, candidates);
  const spent = await spentInMonth(tx, agreement, now);

  const allowed = monthlyLimit - spent - held.onLimit - held.elsewhere;
  const keeps = limitId !== null && (allowed >= 0n || held.onLimit === 0n);
  const accountId = keeps ? limitId : await openAccount(tx, "limit");
  const change = (allowed > 0n ? allowed : 0n) - (keeps ? held.limitAvailable : 0n);
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
  const limitFormerIds = keeps || limitId === null ? held.formerIds : [...held.formerIds, limitId];
  const limitElsewhere = held.elsewhere + (keeps ? 0n : held.onLimit);
  await keep(tx, agreement, {
    monthlyLimit,
    limitId: accountId,
    limitPeriodEndsAt: endOfMonth(now),
    limitOverspent: allowed < 0n ? -allowed : 0n,
    limitFormerIds,
    limitElsewhere,
    limitElsewhereHolds: held.holds,
  });
}

// In id order, like every statement that locks accounts.
const lockAccountsStatement = {
  name: "ledger_lock_accounts",
  text: `SELECT id FROM account WHERE id = ANY ($1::uuid[]) ORDER BY id FOR NO KEY UPDATE`,
};

type HeldByApp = {
  /** On the limit's account, and what is available there. */
  onLimit: bigint;
  limitAvailable: bigint;
  /** On former accounts of the limit, on none, or on one that is not known any more. */
  elsewhere: bigint;
  /** Former accounts on which something is held. */
  formerIds: string[];
  /** The holds that are on no account of this agreement. */
  holds: string[];
};

/**
 * What the app's open requests hold of a wallet that is locked. What they hold on limits is
 * told by those accounts. The rest of what the wallet holds is that of requests without a
 * limit, of whichever app; they are looked for by their ids, and should some not be found,
 * they count as this app's: a limit may leave too little for a while, never too much.
 */
async function heldBy(tx: Tx, agreement: LockedAgreement, candidates: readonly string[]): Promise<HeldByApp> {
  const { walletId, limitId, appId } = agreement;
  const accounts = new Map(
    (await tx.query(accountsOfPersonStatement, [agreement.userId, walletId, plainArray([limitId, ...agreement.limitFormerIds])])).map(
      (row) => [String(row.id), { available: toBigInt(row.available), held: toBigInt(row.held) }],
    ),
  );
  const heldOn = (id: string | null) => (id === null ? 0n : (accounts.get(id)?.held ?? 0n));
  const formerIds = agreement.limitFormerIds.filter((id) => heldOn(id) > 0n);
  const onFormer = formerIds.reduce((sum, id) => sum + heldOn(id), 0n);

  // On the wallet, and on no limit that is known.
  let outside = 2n * heldOn(walletId);
  for (const { held } of accounts.values()) outside -= held;
  let found: OpenHold[] = [];
  const sum = (holds: readonly OpenHold[]) => holds.reduce((total, { amount }) => total + amount, 0n);
  if (outside > 0n) {
    const isOutside = ({ limitId: account }: OpenHold) => account === null || !accounts.has(account);
    found = (await openAmong(tx, candidates)).filter(isOutside);
    // Some came between looking for them and the lock: a moment ago, by whatever their servers' clocks say.
    if (sum(found) < outside) {
      const lately = firstIdAt((await databaseTime(tx)).getTime() - LATELY_MS);
      const ids = await openOutside(tx, agreement, lately);
      found = (await openAmong(tx, [...new Set([...candidates, ...ids])])).filter(isOutside);
    }
  }
  const own = found.filter((hold) => hold.appId === appId && hold.billingMode === "user");
  return {
    onLimit: heldOn(limitId),
    limitAvailable: limitId === null ? 0n : (accounts.get(limitId)?.available ?? 0n),
    elsewhere: onFormer + sum(own) + (outside - sum(found)),
    formerIds,
    holds: own.map(({ id }) => id),
  };
}

/** How long ago a request that has just come to the database may have begun, by its server's clock. */
const LATELY_MS = 30_000;

const accountsOfPersonStatement = {
  name: "ledger_accounts_of_person",
  text: `
    SELECT a.id, a.available, a.held FROM account a WHERE a.id = $2::uuid OR a.id = ANY ($3::uuid[])
      OR a.id = ANY (ARRAY(SELECT unnest(g.limit_former_ids || g.limit_id) FROM agreement g WHERE g.user_id = $1::uuid))`,
};

type OpenHold = { id: string; appId: string; billingMode: string; limitId: string | null; amount: bigint };

async function openAmong(tx: Sql, ids: readonly string[]): Promise<OpenHold[]> {
  if (ids.length === 0) return [];
  return (await tx.query(openAmongStatement, [plainArray(ids)])).map((row) => ({
    id: String(row.id),
    appId: String(row.app_id),
    billingMode: String(row.billing_mode),
    limitId: row.limit_id === null ? null : String(row.limit_id),
    amount: toBigInt(row.amount),
  }));
}

const openAmongStatement = {
  name: "ledger_open_among",
  text: `
    SELECT h.id, h.app_id, h.billing_mode::text, h.limit_id,
      (h.amount + (SELECT coalesce(sum(g.amount), 0) FROM hold_growth g WHERE g.hold_id = h.id))::bigint AS amount
    FROM unnest($1::uuid[]) q(id) JOIN LATERAL (SELECT h.* FROM hold h WHERE h.id = q.id OFFSET 0) h ON true
    LEFT JOIN LATERAL (SELECT 1 AS there FROM usage u WHERE u.id = h.id OFFSET 0) u ON true WHERE u.there IS NULL`,
};

/**
 * The wallet's open holds that are on no limit of this person, among those with ids from
 * `since` on; without it, all. Empty without a look when the wallet holds nothing else.
 * Not under a lock: with many requests a second there is much to look through.
 */
async function openOutside(tx: Tx, { userId, walletId }: LockedAgreement, since?: string): Promise<string[]> {
  const accounts = await tx.query(accountsOfPersonStatement, [userId, walletId, "{}"]);
  const held = accounts.map((row) => (row.id === walletId ? toBigInt(row.held) : -toBigInt(row.held)));
  if (held.reduce((sum, each) => sum + each, 0n) <= 0n) return [];
  const known = plainArray(accounts.map((row) => String(row.id)));
  const open = since === undefined ? await openSince(tx) : { after: since, running: [] };
  const rows = await tx.query(openOutsideStatement, [walletId, open.after, plainArray(open.running), known]);
  return rows.map((row) => String(row.id));
}

const openOutsideStatement = {
  name: "ledger_open_outside",
  text: `
    SELECT h.id FROM (
      SELECT h.id, h.wallet_id, h.limit_id FROM hold h WHERE h.id >= $2::uuid
      UNION ALL SELECT h.id, h.wallet_id, h.limit_id FROM unnest($3::uuid[]) q(id)
        JOIN LATERAL (SELECT h.* FROM hold h WHERE h.id = q.id AND h.id < $2::uuid OFFSET 0) h ON true) h
    LEFT JOIN LATERAL (SELECT 1 AS there FROM usage u WHERE u.id = h.id OFFSET 0) u ON true
    WHERE h.wallet_id = $1::uuid AND (h.limit_id IS NULL OR h.limit_id <> ALL ($4::uuid[])) AND u.there IS NULL`,
};

type Limit = {
  /** Credits a month; null when no limit is in force. */
  monthlyLimit: bigint | null;
  /** The account, which stays when the limit is removed. */
  limitId: string | null;
  limitPeriodEndsAt: Date | null;
  limitOverspent: bigint;
  limitElsewhere: bigint;
};

type Kept = Partial<Limit> & { limitFormerIds?: string[]; limitElsewhereHolds?: string[] };

async function keep(tx: Tx, { appId, userId }: { appId: string; userId: string }, data: Kept): Promise<void> {
  await tx.prisma.agreement.update({ where: { userId_appId: { userId, appId } }, data });
}

/** Of an agreement that is locked. The account stays, for requests that hold from it and for the next limit. */
async function removeLimit(tx: Tx, of: { appId: string; userId: string }): Promise<void> {
  await keep(tx, of, { monthlyLimit: null, limitPeriodEndsAt: null, limitOverspent: 0n, limitElsewhere: 0n, limitElsewhereHolds: [] });
}

type LockedAgreement = {
  appId: string;
  userId: string;
  walletId: string;
  /** Null when no limit is in force. */
  inForce: { monthlyLimit: bigint; endsAt: Date } | null;
  limitId: string | null;
  limitFormerIds: string[];
};

/** Two changes of one limit come one after the other, through whichever link. Null when there is no such link. */
async function lockAgreementOf(tx: Tx, linkedUserId: string): Promise<LockedAgreement | null> {
  const where = { id: linkedUserId };
  // A link is the same person's and the same app's for as long as it lives.
  const of = await tx.prisma.linkedUser.findUnique({ where, select: { appId: true, userId: true, walletId: true } });
  if (of === null) return null;
  await lockAgreement(tx, of);
  const link = await tx.prisma.linkedUser.findUnique({
    where,
    select: { agreement: { select: { monthlyLimit: true, limitId: true, limitPeriodEndsAt: true, limitFormerIds: true } } },
  });
  if (link === null) return null;
  const { monthlyLimit, limitPeriodEndsAt, limitId, limitFormerIds } = link.agreement;
  const inForce = monthlyLimit === null || limitPeriodEndsAt === null ? null : { monthlyLimit, endsAt: limitPeriodEndsAt };
  return { ...of, inForce, limitId, limitFormerIds };
}
