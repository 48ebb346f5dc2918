import { v7 as uuidv7 } from "uuid";
import type { Tx } from "../platform/db.ts";
import { firstIdAt } from "../platform/ids.ts";
import { plainArray, type Sql, toBigInt } from "../platform/sql.ts";
import { balanceOf, openAccount, platformAccount } from "./accounts.ts";
import { openSince } from "./sweep.ts";
import { transfer } from "./transfer.ts";

// A user's monthly limit for an app is an account. A hold takes from it as from the wallet, so that concurrent requests
// can't exceed it. Whenever it is filled (the limit is set, its month is over, it is recounted), what the app took from
// the user in the calendar month (UTC) is read from the journal: settled requests and open holds, of all links. So
// neither removing a limit nor ending links resets what was spent. Limit, account and month are columns of the agreement
// of user and app, which the links point to.

/**
 * Sets, changes or (with null) removes the limit of a linked user, in credits a month,
 * from the next request on. It is the limit of all links of the user to the app. What the
 * app took this month counts against it. Throws when there is no such linked user or the
 * limit is negative. `now`: a moment of the month to count; by default the database's time.
 */
export async function setLimit(tx: Tx, linkedUserId: string, monthlyLimit: bigint | null, now?: Date): Promise<void> {
  if (monthlyLimit !== null && monthlyLimit < 0n) throw new RangeError("a limit is not negative");
  const agreement = await lockAgreementOf(tx, linkedUserId);
  if (agreement === null) throw new Error(`no linked user ${linkedUserId}`);
  if (monthlyLimit !== null) return fill(tx, agreement, monthlyLimit, now ?? (await databaseTime(tx)));
  await removeLimit(tx, agreement);
}

/** Fills the limit when its month is over; otherwise does nothing. */
export async function refillLimit(tx: Tx, linkedUserId: string, now?: Date): Promise<void> {
  const agreement = await lockAgreementOf(tx, linkedUserId);
  // The link or its limit is gone. The caller repeats its request, and that is decided without it.
  if (agreement === null || agreement.inForce === null) return;
  const at = now ?? (await databaseTime(tx));
  if (agreement.inForce.endsAt > at) return;
  await fill(tx, agreement, agreement.inForce.monthlyLimit, at);
}

/**
 * What a limit leaves, in credits, and whether a recount leaves more. `isDue`: holds that the
 * limit counts, but that are not on its account, were settled since the last count, so their
 * credits are missing until `recountLimit`. Each of these holds makes it true at most once.
 * Null when there is no such linked user or no limit.
 */
export async function limitStanding(sql: Sql, linkedUserId: string): Promise<{ isDue: boolean; available: bigint } | null> {
  const [row] = await sql.query(standingStatement, [linkedUserId]);
  return row === undefined ? null : { isDue: row.due === true, available: toBigInt(row.available) };
}

/** Recounts the limit when that is due, see `limitStanding`. */
export async function recountLimit(tx: Tx, linkedUserId: string): Promise<void> {
  const agreement = await lockAgreementOf(tx, linkedUserId);
  if (agreement === null || agreement.inForce === null) return;
  const now = await databaseTime(tx);
  // When the month is over, `refillLimit` counts.
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
 * Locks the agreement before a link is made. When the user has no link to the app, the agreement is reset: no limit, any
 * model, this markup. Otherwise it stays as it is, and the new link comes under it.
 */
export async function beginAgreement(tx: Tx, of: { appId: string; userId: string }, agreedMarkupBps: number): Promise<void> {
  const { appId, userId } = of;
  await lockAgreement(tx, of);
  if ((await tx.prisma.linkedUser.findFirst({ where: { appId, userId }, select: { id: true } })) !== null) return;
  await removeLimit(tx, of);
  await tx.prisma.agreement.update({ where: { userId_appId: { userId, appId } }, data: { allowedModels: [], agreedMarkupBps } });
}

/** Locks the agreement of user and app until the transaction ends; inserts it when there is none. */
export async function lockAgreement(tx: Tx, { appId, userId }: { appId: string; userId: string }): Promise<void> {
  await tx.query(openAgreementStatement, [userId, appId]);
  await tx.query(lockAgreementStatement, [userId, appId]);
}

const openAgreementStatement = {
  name: "ledger_open_agreement",
  text: `INSERT INTO agreement (user_id, app_id) VALUES ($1::uuid, $2::uuid) ON CONFLICT DO NOTHING`,
};
// Not FOR UPDATE, which conflicts with the lock that the foreign key of a new link takes on its agreement.
const lockAgreementStatement = {
  name: "ledger_lock_agreement",
  text: `SELECT 1 AS found FROM agreement WHERE user_id = $1::uuid AND app_id = $2::uuid FOR NO KEY UPDATE`,
};

/**
 * A limit as screens and the API show it, in credits; null when there is none. `spent`: what was settled this month
 * (UTC), without open holds. `balance`: of the limit's account, when the caller has read it.
 */
export async function limitState(
  sql: Sql,
  link: Limit & { appId: string; walletId: string },
  options: { balance?: bigint | undefined; now?: Date } = {},
): Promise<{ limit: bigint; spent: bigint } | null> {
  const { monthlyLimit: limit, limitId, limitPeriodEndsAt } = link;
  if (limit === null || limitId === null || limitPeriodEndsAt === null) return null;
  const now = options.now ?? new Date();
  // The account's balance tells what was spent, except for holds that are not on the account: then usage is summed.
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

/** Credits that an app's settled requests took from a user's wallet in the month of `now`. */
async function spentInMonth(sql: Sql, { appId, walletId }: { appId: string; walletId: string }, now: Date): Promise<bigint> {
  const start = startOfMonth(now);
  // A request counts in the month in which it was settled. Its id has the time of its start, by a server's clock that may be slow.
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
 * Sets what the limit's account has available to the limit, less what was spent this month
 * and what open holds take. When that is below zero, credits that these holds return must
 * not become available again: then a new, empty account takes over, and they settle against
 * the old one. The wallet is locked, so that nothing of it is held or settled between
 * counting and the commit.
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
  await changeLimit(tx, agreement, {
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
  /** Held on the limit's account. */
  onLimit: bigint;
  limitAvailable: bigint;
  /** Held on former accounts of the limit, without a limit, or on an account that no agreement of the user lists. */
  elsewhere: bigint;
  /** Former accounts on which something is held. */
  formerIds: string[];
  /** The app's open holds without a limit, or on an account that no agreement of the user lists. */
  holds: string[];
};

/**
 * What the app's open holds take from a wallet, which the caller has locked. Holds with a limit are read from the limits'
 * accounts. The rest of what the wallet holds is without a limit, for any app; these holds are searched by id, and those
 * that are not found count as this app's: the limit may leave too little until the next count, never too much.
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

  // Held on the wallet, but on no known limit account.
  let outside = 2n * heldOn(walletId);
  for (const { held } of accounts.values()) outside -= held;
  let found: OpenHold[] = [];
  const sum = (holds: readonly OpenHold[]) => holds.reduce((total, { amount }) => total + amount, 0n);
  if (outside > 0n) {
    const isOutside = ({ limitId: account }: OpenHold) => account === null || !accounts.has(account);
    found = (await openAmong(tx, candidates)).filter(isOutside);
    // The missing ones were made between the search and the lock, so they have recent ids.
    if (sum(found) < outside) {
      const since = firstIdAt((await databaseTime(tx)).getTime() - RECENT_MS);
      const ids = await openOutside(tx, agreement, since);
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

/** The age that a hold's id may have when the hold is inserted: the request's way to the database, and a slow clock of its server. */
const RECENT_MS = 30_000;

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
 * Ids of the wallet's open holds on no known limit account, from the id `since` on; without it, all. Holds are not read
 * when the limits' accounts add up to what the wallet holds. `fill` searches before it locks the wallet, because with
 * many requests a second there are many holds to read.
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

type LimitChange = Partial<Limit> & { limitFormerIds?: string[]; limitElsewhereHolds?: string[] };

async function changeLimit(tx: Tx, { appId, userId }: { appId: string; userId: string }, data: LimitChange): Promise<void> {
  await tx.prisma.agreement.update({ where: { userId_appId: { userId, appId } }, data });
}

/** The agreement is locked by the caller. The account stays, for its open holds and for the next limit. */
async function removeLimit(tx: Tx, of: { appId: string; userId: string }): Promise<void> {
  await changeLimit(tx, of, {
    monthlyLimit: null,
    limitPeriodEndsAt: null,
    limitOverspent: 0n,
    limitElsewhere: 0n,
    limitElsewhereHolds: [],
  });
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

/** Locks a link's agreement, so that changes of one limit are serialized, also through different links. Null when there is no such link. */
async function lockAgreementOf(tx: Tx, linkedUserId: string): Promise<LockedAgreement | null> {
  const where = { id: linkedUserId };
  // A link's user and app never change, so they are read before the lock.
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
