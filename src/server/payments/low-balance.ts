import { env } from "#env";
import type { Database } from "../platform/db.ts";
import { firstIdAt } from "../platform/ids.ts";
import { plainArray, type Sql, toBigInt } from "../platform/sql.ts";
import { mailLowBalance } from "./mails.ts";

/**
 * Mails users once when their balance has fallen low. Requests do no work for it: a job reads which
 * wallets paid since the last round. A usage row has the id of its request's start and is inserted
 * when the request ends, so each range of ids is read three times: at once, after a minute, and when
 * no request of the range can still run. `longestRequestMs`: a request's time limit.
 */
export function lowBalanceWatch(longestRequestMs: number): (db: Database, now?: number) => Promise<void> {
  const lags = [0, 60_000, longestRequestMs + 120_000];
  let read: number[] | null = null;
  return async (db, now = Date.now()) => {
    await db.sql.query(rearmStatement, [BigInt(env.QUOTA_LOW_BALANCE_CREDITS)]);
    if (env.QUOTA_LOW_BALANCE_CREDITS === 0) return;
    // After a start: covers ten minutes that an earlier server may not have read.
    read ??= lags.map((lag) => now - lag - 600_000);
    for (const [index, lag] of lags.entries()) {
      const from = read[index] as number;
      await mailLowBalances(db.sql, firstIdAt(from), firstIdAt(now - lag));
      // Ranges overlap by five seconds, because servers' clocks differ; `low_since` prevents a second mail.
      read[index] = now - lag - 5_000;
    }
  };
}

/** One range of ids of usage. The server that sets `low_since` sends the mail. */
async function mailLowBalances(sql: Sql, from: string, to: string): Promise<void> {
  const low = await sql.query(lowStatement, [from, to, BigInt(env.QUOTA_LOW_BALANCE_CREDITS)]);
  if (low.length === 0) return;
  const wallets = plainArray(low.map((row) => String(row.wallet_id)));
  await sql.query(openStatement, [wallets]);
  for (const row of await sql.query(tellStatement, [wallets]))
    mailLowBalance(String(row.user_id), toBigInt(low.find(({ wallet_id }) => wallet_id === row.wallet_id)?.balance));
}

const lowStatement = {
  name: "payments_low_balances",
  text: `
    WITH spent AS MATERIALIZED (SELECT DISTINCT wallet_id FROM usage WHERE id >= $1::uuid AND id < $2::uuid AND base + markup > 0)
    SELECT a.id AS wallet_id, a.available + a.held AS balance
    FROM spent s JOIN account a ON a.id = s.wallet_id AND a.kind = 'wallet' JOIN "user" u ON u.wallet_id = a.id AND u.deleted_at IS NULL
      LEFT JOIN billing b ON b.wallet_id = a.id
    WHERE a.available + a.held < $3::bigint AND b.low_since IS NULL`,
};

/** ON CONFLICT without a target, because the table has two unique columns and another server may insert the same row. */
const openStatement = {
  name: "payments_open_billing",
  text: `
    INSERT INTO billing (wallet_id, user_id) SELECT u.wallet_id, u.id FROM "user" u WHERE u.wallet_id = ANY ($1::uuid[]) ORDER BY 1
    ON CONFLICT DO NOTHING`,
};

const tellStatement = {
  name: "payments_tell_low_balances",
  text: `
    WITH mine AS MATERIALIZED (
      SELECT wallet_id FROM billing WHERE wallet_id = ANY ($1::uuid[]) AND low_since IS NULL ORDER BY wallet_id FOR NO KEY UPDATE),
    told AS (
      UPDATE billing b SET low_since = now() FROM mine WHERE b.wallet_id = mine.wallet_id AND b.low_since IS NULL
      RETURNING b.wallet_id, b.user_id, b.low_balance_mail)
    SELECT wallet_id, user_id FROM told WHERE low_balance_mail`,
};

/**
 * Arms balances that are not low any more, so that the next fall triggers a new mail and a new
 * automatic top-up. Top-ups do this themselves (`rearm`); this is for grants and corrections.
 */
const rearmStatement = {
  name: "payments_not_low_any_more",
  text: `
    WITH higher AS MATERIALIZED (
      SELECT b.wallet_id, a.available + a.held AS balance FROM billing b JOIN account a ON a.id = b.wallet_id
      WHERE (b.low_since IS NOT NULL AND a.available + a.held >= $1::bigint)
        OR (b.auto_top_up = 'on' AND NOT b.auto_armed AND a.available + a.held >= b.auto_threshold)
      -- A row that another transaction has locked is left to that transaction, which knows the newer balance.
      FOR NO KEY UPDATE OF b SKIP LOCKED)
    UPDATE billing b SET
      low_since = CASE WHEN h.balance < $1::bigint THEN b.low_since END,
      auto_armed = b.auto_armed OR coalesce(h.balance >= b.auto_threshold, false)
    FROM higher h WHERE b.wallet_id = h.wallet_id`,
};
