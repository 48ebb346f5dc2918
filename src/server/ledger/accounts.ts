import { v7 as uuidv7 } from "uuid";
import type { Sql } from "../platform/sql.ts";
import { plainArray, toBigInt } from "../platform/sql.ts";

/** The platform's accounts, made by the migrations. */
export const platformAccount = {
  /** Where top-ups came from before there was a table of payments. */
  world: "00000000-0000-7000-8000-000000000001",
  /** Collects base costs. */
  revenue: "00000000-0000-7000-8000-000000000002",
  /** Pays for credits that are given away. */
  promotions: "00000000-0000-7000-8000-000000000003",
  /** Bears base costs above the hold. */
  shortfall: "00000000-0000-7000-8000-000000000004",
  /** Source and sink of play credits. */
  sandbox: "00000000-0000-7000-8000-000000000005",
  /** Refills spending limits. */
  allowance: "00000000-0000-7000-8000-000000000006",
  /** Payments through Stripe, less refunds and disputes. */
  stripe: "00000000-0000-7000-8000-000000000101",
  /** Top-ups through the sandbox checkout, which takes no payment. */
  sandboxCheckout: "00000000-0000-7000-8000-000000000102",
  /** Debts of wallets, after refunds and disputes that they could not cover. */
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

/** Credits. `held` is reserved for requests under way, `available` can be spent, `balance` is their sum. */
export type Balance = { balance: bigint; held: bigint; available: bigint };

/** An account's balance; for earnings and platform accounts with deltas that are not folded yet. Throws when there is no such account. */
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

/** Balances of bounded accounts other than earnings, by id; ids without such an account are absent. */
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
 * What an app's open holds add up to, in credits and without those of test mode: `held`, and the `markup` in it by the
 * lower of the app's markup and the agreed one. `since`: no open hold has a lower id.
 */
export async function underWay(sql: Sql, appId: string, since: string): Promise<{ requests: number; held: bigint; markup: bigint }> {
  const [row] = await sql.query(underWayStatement, [appId, since]);
  return { requests: Number(toBigInt(row?.requests ?? 0)), held: toBigInt(row?.held ?? 0), markup: toBigInt(row?.markup ?? 0) };
}

// A hold is one amount of base and markup, so the markup is what exceeds the base that the amount pays for.
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
 * Adds the rows of `account_delta` to their accounts, so that a balance is read from few rows. One statement deletes
 * and adds them, so every snapshot counts each delta once.
 */
export async function foldDeltas(sql: Sql): Promise<void> {
  await sql.query(foldStatement, []);
}

const foldStatement = {
  name: "ledger_fold",
  text: `
    WITH gone AS (DELETE FROM account_delta RETURNING account_id, amount),
    gained AS (SELECT account_id, sum(amount)::bigint AS amount FROM gone GROUP BY account_id),
    -- In id order, so that two concurrent folds can't deadlock.
    lk AS MATERIALIZED (SELECT a.id FROM account a WHERE a.id = ANY (ARRAY(SELECT account_id FROM gained)) ORDER BY a.id FOR NO KEY UPDATE OF a)
    UPDATE account a SET available = a.available + g.amount FROM gained g WHERE a.id = g.account_id AND (SELECT count(*) FROM lk) >= 0`,
};
