import { v7 as uuidv7 } from "uuid";
import type { Sql } from "../platform/sql.ts";
import { toBigInt } from "../platform/sql.ts";

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
