import { v7 as uuidv7 } from "uuid";
import type { Sql } from "../platform/sql.ts";
import { plainArray, toBigInt } from "../platform/sql.ts";

/** The platform's accounts, made by the migrations. */
export const platformAccount = {
  /** Where top-ups come from. */
  world: "00000000-0000-7000-8000-000000000001",
  /** Collects base costs. */
  revenue: "00000000-0000-7000-8000-000000000002",
  /** Pays for credits that are given away. */
  promotions: "00000000-0000-7000-8000-000000000003",
  /** Bears what a provider reported above the hold. */
  shortfall: "00000000-0000-7000-8000-000000000004",
  /** Source and sink of play credits. */
  sandbox: "00000000-0000-7000-8000-000000000005",
  /** Refills spending limits. */
  allowance: "00000000-0000-7000-8000-000000000006",
  /** What came in through Stripe, less what went back. */
  stripe: "00000000-0000-7000-8000-000000000101",
  /** Top-ups that nobody paid for, from the sandbox checkout. */
  sandboxCheckout: "00000000-0000-7000-8000-000000000102",
  /** What wallets owe after a refund or dispute that they could not cover. */
  receivable: "00000000-0000-7000-8000-000000000103",
} as const;

export type BoundedAccountKind = "wallet" | "limit" | "sandbox_wallet" | "earnings";

/** Opens an empty account that can never go below zero; returns its id. */
export async function openAccount(tx: Sql, kind: BoundedAccountKind): Promise<string> {
  const id = uuidv7();
  await tx.query(openStatement, [id, kind]);
  return id;
}

const openStatement = {
  name: "ledger_open_account",
  text: `INSERT INTO "account" ("id", "kind", "bounded") VALUES ($1::uuid, $2::text::account_kind, true)`,
};

/** Credits: what is there, what of it is reserved by requests under way, and what can be spent. */
export type Balance = { balance: bigint; held: bigint; available: bigint };

/**
 * An account's balance right now. For earnings it includes what has not been
 * folded yet. Throws when there is no such account.
 */
export async function balanceOf(sql: Sql, accountId: string): Promise<Balance> {
  const [row] = await sql.query(balanceStatement, [accountId]);
  if (row === undefined) throw new Error(`no account ${accountId}`);
  const available = toBigInt(row.available) + toBigInt(row.waiting);
  const held = toBigInt(row.held);
  return { balance: available + held, held, available };
}

const balanceStatement = {
  name: "ledger_balance",
  text: `
    SELECT a.available, a.held,
      CASE WHEN a.kind IN ('earnings', 'platform')
        THEN coalesce((SELECT sum(d.amount) FROM account_delta d WHERE d.account_id = a.id), 0)::bigint
        ELSE 0 END AS waiting
    FROM account a WHERE a.id = $1::uuid`,
};

/** Balances of bounded accounts, by id; what there is no account for is absent. */
export async function balancesOf(sql: Sql, accountIds: readonly string[]): Promise<Map<string, bigint>> {
  if (accountIds.length === 0) return new Map();
  const rows = await sql.query(balancesStatement, [plainArray(accountIds)]);
  return new Map(rows.map((row) => [String(row.id), toBigInt(row.balance)]));
}

const balancesStatement = {
  name: "ledger_balances",
  text: `SELECT id, available + held AS balance FROM account WHERE id = ANY ($1::uuid[]) AND bounded AND kind <> 'earnings'`,
};

/**
 * What an app's requests under way hold, and how much of it is markup at most, by the
 * markup that their payers agreed to. \`since\`: no request under way began before this id.
 */
export async function underWay(sql: Sql, appId: string, since: string): Promise<{ requests: number; held: bigint; markup: bigint }> {
  const [row] = await sql.query(underWayStatement, [appId, since]);
  return { requests: Number(toBigInt(row?.requests ?? 0)), held: toBigInt(row?.held ?? 0), markup: toBigInt(row?.markup ?? 0) };
}

// A hold is base and markup in one; the base is what is left of it without the markup.
const underWayStatement = {
  name: "ledger_under_way",
  text: `
    SELECT count(*) AS requests, coalesce(sum(h.amount), 0)::bigint AS held,
      coalesce(sum(h.amount - h.amount * 10000 / (10000 + least(a.markup_bps, g.agreed_markup_bps))), 0)::bigint AS markup
    FROM (
      SELECT h.app_id, h.linked_user_id, h.amount + (SELECT coalesce(sum(g.amount), 0) FROM hold_growth g WHERE g.hold_id = h.id)::bigint AS amount
      FROM hold h
      WHERE h.app_id = $1::uuid AND h.id >= $2::uuid AND h.billing_mode <> 'test' AND NOT EXISTS (SELECT 1 FROM usage u WHERE u.id = h.id)) h
    JOIN app a ON a.id = h.app_id LEFT JOIN linked_user l ON l.id = h.linked_user_id
    LEFT JOIN agreement g ON g.user_id = l.user_id AND g.app_id = l.app_id`,
};

/**
 * Adds what summed accounts gained in many batches to their rows, so that reading
 * them stays cheap. Deleting and adding are one statement: a delta is counted
 * before it or after it, never twice or not at all.
 */
export async function foldDeltas(sql: Sql): Promise<void> {
  await sql.query(foldStatement, []);
}

const foldStatement = {
  name: "ledger_fold",
  text: `
    WITH gone AS (DELETE FROM account_delta RETURNING account_id, amount),
    gained AS (SELECT account_id, sum(amount)::bigint AS amount FROM gone GROUP BY account_id),
    -- In id order, so that two that fold at once can't wait for each other.
    lk AS MATERIALIZED (SELECT a.id FROM account a WHERE a.id = ANY (ARRAY(SELECT account_id FROM gained)) ORDER BY a.id FOR NO KEY UPDATE OF a)
    UPDATE account a SET available = a.available + g.amount FROM gained g WHERE a.id = g.account_id AND (SELECT count(*) FROM lk) >= 0`,
};
