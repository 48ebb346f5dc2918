import { env } from "#env";
import { firstIdAt } from "../ledger/sweep.ts";
import type { Database } from "../platform/db.ts";
import { type Sql, toBigInt } from "../platform/sql.ts";
import { mailLowBalance } from "./mails.ts";

/**
 * Tells people once when their balance has fallen low. It costs requests nothing: a job
 * reads which wallets paid since the last round. A usage row's id is as old as its
 * request, and is there only once that has ended, so each stretch of time is read when it
 * is fresh, again after a minute, and a last time when no request of it can be open.
 */
export function lowBalanceWatch(longestRequestMs: number): (db: Database, now?: number) => Promise<void> {
  const lags = [0, 60_000, longestRequestMs + 120_000];
  let read: number[] | null = null;
  return async (db, now = Date.now()) => {
    if (env.QUOTA_LOW_BALANCE_CREDITS === 0) return;
    // What a server that stopped had not read yet, the next one reads.
    read ??= lags.map((lag) => now - lag - 600_000);
    for (const [index, lag] of lags.entries()) {
      const from = read[index] as number;
      await tellAboutLowBalances(db.sql, firstIdAt(from), firstIdAt(now - lag));
      // Clocks of several servers differ a little; what is read twice is told once.
      read[index] = now - lag - 5_000;
    }
    await db.sql.query(rearmStatement, [BigInt(env.QUOTA_LOW_BALANCE_CREDITS)]);
  };
}

/** One stretch of usage. Whoever writes `low_since` down first sends the mail. */
async function tellAboutLowBalances(sql: Sql, from: string, to: string): Promise<void> {
  for (const row of await sql.query(lowStatement, [from, to, BigInt(env.QUOTA_LOW_BALANCE_CREDITS)]))
    mailLowBalance(String(row.user_id), toBigInt(row.balance));
}

const lowStatement = {
  name: "payments_low_balances",
  text: `
    WITH spent AS MATERIALIZED (SELECT DISTINCT wallet_id FROM usage WHERE id >= $1::uuid AND id < $2::uuid AND base + markup > 0),
    low AS MATERIALIZED (
      SELECT a.id AS wallet_id, u.id AS user_id, a.available + a.held AS balance
      FROM spent s JOIN account a ON a.id = s.wallet_id AND a.kind = 'wallet' JOIN "user" u ON u.wallet_id = a.id AND u.deleted_at IS NULL
      WHERE a.available + a.held < $3::bigint),
    told AS (
      INSERT INTO billing (wallet_id, user_id, low_since) SELECT wallet_id, user_id, now() FROM low ORDER BY wallet_id
      ON CONFLICT (wallet_id) DO UPDATE SET low_since = now() WHERE billing.low_since IS NULL
      RETURNING wallet_id, low_balance_mail)
    SELECT low.user_id, low.balance FROM told JOIN low ON low.wallet_id = told.wallet_id WHERE told.low_balance_mail`,
};

/** Balances that are not low any more may fall again. Top-ups say so themselves; this is for gifts and corrections. */
const rearmStatement = {
  name: "payments_not_low_any_more",
  text: `
    WITH higher AS MATERIALIZED (
      SELECT b.wallet_id FROM billing b JOIN account a ON a.id = b.wallet_id
      WHERE b.low_since IS NOT NULL AND a.available + a.held >= $1::bigint
      -- Whoever has one of them locked knows its balance better.
      FOR NO KEY UPDATE OF b SKIP LOCKED)
    UPDATE billing b SET low_since = NULL FROM higher WHERE b.wallet_id = higher.wallet_id`,
};
