import type { Sql } from "../platform/sql.ts";
import { toBigInt } from "../platform/sql.ts";

export type Discrepancy = { rule: string; what: string; expected: string; found: string };
export type VerifyReport = {
  ok: boolean;
  accounts: number;
  transfers: number;
  usages: number;
  openHolds: number;
  discrepancies: Discrepancy[];
};

/**
 * Proves the books from the journal alone: every account's balance equals the sum
 * of its entries, what is held equals the open holds, entries sum to zero, nothing
 * is negative, no settlement exceeds its hold or names another payer, no hold
 * outlives the longest request, every payment was credited once and nothing else was,
 * and every refund and dispute was taken back or is owed. Reads one snapshot, so it may run beside traffic.
 * `overdueGraceMs`: how long after its end a hold may wait for the sweeper.
 */
export async function verify(sql: Sql, options: { overdueGraceMs?: number } = {}): Promise<VerifyReport> {
  // One statement sees one snapshot.
  const [row] = await sql.query(verifyStatement, [options.overdueGraceMs ?? 60_000]);
  if (row === undefined) throw new Error("the database did not answer");
  const found = (typeof row.discrepancies === "string" ? JSON.parse(row.discrepancies) : row.discrepancies) as Discrepancy[];
  return {
    ok: found.length === 0,
    accounts: Number(toBigInt(row.accounts)),
    transfers: Number(toBigInt(row.transfers)),
    usages: Number(toBigInt(row.usages)),
    openHolds: Number(toBigInt(row.open_holds)),
    discrepancies: found,
  };
}

const verifyStatement = {
  name: "ledger_verify",
  text: `
    WITH journal AS MATERIALIZED (SELECT account_id, sum(amount) AS total FROM ledger_entry GROUP BY account_id),
    waiting AS MATERIALIZED (SELECT account_id, sum(amount) AS total FROM account_delta GROUP BY account_id),
    open AS MATERIALIZED (SELECT h.* FROM hold h LEFT JOIN usage u ON u.id = h.id WHERE u.id IS NULL),
    reserved AS MATERIALIZED (
      SELECT account_id, sum(amount) AS total FROM (
        SELECT wallet_id AS account_id, amount FROM open UNION ALL SELECT limit_id, amount FROM open WHERE limit_id IS NOT NULL) each
      GROUP BY account_id),
    -- What payments say of each wallet, and what the journal does.
    reversed AS MATERIALIZED (
      SELECT p.wallet_id, sum(r.taken) AS taken, sum(r.owed) AS owed
      FROM reversal r JOIN payment_intent i ON i.id = r.payment_intent_id JOIN payment p ON p.id = i.payment_id GROUP BY p.wallet_id),
    taken AS MATERIALIZED (
      SELECT wallet_id, sum(amount) AS taken FROM (
        SELECT t.debit_id AS wallet_id, t.amount FROM transfer t
        WHERE t.credit_id = '00000000-0000-7000-8000-000000000101' AND t.debit_id <> '00000000-0000-7000-8000-000000000103'
        UNION ALL SELECT t.credit_id, -t.amount FROM transfer t
        WHERE t.debit_id = '00000000-0000-7000-8000-000000000101' AND t.reason <> 'top_up' AND t.credit_id <> '00000000-0000-7000-8000-000000000103') each
      GROUP BY wallet_id),
    repaid AS MATERIALIZED (
      SELECT t.debit_id AS wallet_id, sum(t.amount) AS repaid FROM transfer t
      WHERE t.credit_id = '00000000-0000-7000-8000-000000000103' AND t.debit_id <> '00000000-0000-7000-8000-000000000101' GROUP BY t.debit_id),
    found AS (
      SELECT 'an account equals the sum of its entries' AS rule, a.kind || ' ' || a.id AS what,
        coalesce(j.total, 0)::text AS expected, (a.available + a.held + coalesce(w.total, 0))::text AS found
      FROM account a LEFT JOIN journal j ON j.account_id = a.id LEFT JOIN waiting w ON w.account_id = a.id
      -- What refills limits is known from the journal alone.
      WHERE a.id <> '00000000-0000-7000-8000-000000000006' AND a.available + a.held + coalesce(w.total, 0) <> coalesce(j.total, 0)
      UNION ALL
      SELECT 'what is held equals the open holds', a.kind || ' ' || a.id, coalesce(r.total, 0)::text, a.held::text
      FROM account a LEFT JOIN reserved r ON r.account_id = a.id WHERE a.held <> coalesce(r.total, 0)
      UNION ALL
      SELECT 'no bounded account is negative', a.kind || ' ' || a.id, '0', least(a.available, a.held)::text
      FROM account a WHERE a.bounded AND (a.available < 0 OR a.held < 0)
      UNION ALL
      SELECT 'every entry belongs to an account', 'account ' || j.account_id, 'an account', 'none'
      FROM journal j LEFT JOIN account a ON a.id = j.account_id WHERE a.id IS NULL
      UNION ALL
      SELECT 'all entries sum to zero', 'journal', '0', sum(total)::text FROM journal HAVING coalesce(sum(total), 0) <> 0
      UNION ALL
      SELECT 'a settlement repeats its hold', 'usage ' || u.id, coalesce(h.amount::text || ' from ' || h.wallet_id, 'a hold'), u.held::text || ' from ' || u.wallet_id
      FROM usage u LEFT JOIN hold h ON h.id = u.id
      WHERE h.id IS NULL OR (h.amount, h.wallet_id, h.limit_id, h.revenue_id, h.earnings_id, h.app_id, h.linked_user_id)
        IS DISTINCT FROM (u.held, u.wallet_id, u.limit_id, u.revenue_id, u.earnings_id, u.app_id, u.linked_user_id)
      UNION ALL
      SELECT 'no settlement exceeds its hold', 'usage ' || u.id, u.held::text, (u.base + u.markup)::text
      FROM usage u WHERE u.base + u.markup > u.held OR u.base < 0 OR u.markup < 0
      UNION ALL
      SELECT 'no hold outlives the longest request', 'hold ' || o.id, o.expires_at::text, now()::text
      FROM open o WHERE o.expires_at + $1::int * interval '1 millisecond' < now()
      UNION ALL
      SELECT 'a paid top-up is credited once', 'payment ' || p.id, p.amount::text || ' to ' || p.wallet_id, coalesce(t.amount::text || ' to ' || t.credit_id, 'nothing')
      FROM payment p LEFT JOIN transfer t ON t.id = p.transfer_id
      WHERE p.status = 'paid' AND (t.id IS NULL OR (t.amount, t.credit_id, t.debit_id, t.reason) IS DISTINCT FROM (p.amount, p.wallet_id, CASE p.provider
        WHEN 'stripe' THEN '00000000-0000-7000-8000-000000000101'::uuid ELSE '00000000-0000-7000-8000-000000000102'::uuid END, 'top_up'::transfer_reason))
      UNION ALL
      SELECT 'a credited top-up is paid', 'transfer ' || t.id, 'a paid payment', coalesce(p.status::text, 'none')
      FROM transfer t LEFT JOIN payment p ON p.transfer_id = t.id
      WHERE t.debit_id IN ('00000000-0000-7000-8000-000000000101', '00000000-0000-7000-8000-000000000102') AND t.reason = 'top_up' AND p.status IS DISTINCT FROM 'paid'
      UNION ALL
      SELECT 'a refund or dispute of a credited top-up stands in the books', r.kind || ' ' || r.id,
        (CASE r.state WHEN 'standing' THEN r.amount ELSE 0 END)::text, (r.taken + r.owed)::text
      FROM reversal r JOIN payment_intent i ON i.id = r.payment_intent_id LEFT JOIN payment p ON p.id = i.payment_id
      WHERE r.taken + r.owed <> CASE WHEN r.state = 'standing' AND p.status = 'paid' THEN r.amount ELSE 0 END
      UNION ALL
      SELECT 'what refunds and disputes took from a wallet left it', 'wallet ' || coalesce(r.wallet_id, t.wallet_id), coalesce(r.taken, 0)::text, coalesce(t.taken, 0)::text
      FROM reversed r FULL JOIN taken t ON t.wallet_id = r.wallet_id WHERE coalesce(r.taken, 0) <> coalesce(t.taken, 0)
      UNION ALL
      SELECT 'a wallet owes what was not covered, less what it repaid', 'wallet ' || coalesce(r.wallet_id, d.wallet_id),
        (coalesce(r.owed, 0) - coalesce(b.repaid, 0))::text, coalesce(d.amount, 0)::text
      FROM reversed r FULL JOIN debt d ON d.wallet_id = r.wallet_id LEFT JOIN repaid b ON b.wallet_id = coalesce(r.wallet_id, d.wallet_id)
      WHERE coalesce(r.owed, 0) - coalesce(b.repaid, 0) <> coalesce(d.amount, 0)
      UNION ALL
      SELECT 'what wallets owe is receivable', 'account receivable', (-(SELECT coalesce(sum(amount), 0) FROM debt))::text, coalesce(sum(total), 0)::text
      FROM journal WHERE account_id = '00000000-0000-7000-8000-000000000103'
      HAVING coalesce(sum(total), 0) <> -(SELECT coalesce(sum(amount), 0) FROM debt))
    SELECT (SELECT count(*) FROM account) AS accounts, (SELECT count(*) FROM transfer) AS transfers,
      (SELECT count(*) FROM usage) AS usages, (SELECT count(*) FROM open) AS open_holds,
      coalesce((SELECT json_agg(f) FROM (SELECT * FROM found LIMIT 100) f), '[]') AS discrepancies`,
};
