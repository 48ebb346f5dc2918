import type { Sql } from "../platform/sql.ts";
import { toBigInt } from "../platform/sql.ts";
import { platformAccount } from "./accounts.ts";
import { shiftedDates } from "./shifted.ts";

export type Discrepancy = {
  rule: string;
  what: string;
  expected: string;
  found: string;
  /** The command that corrects it, when there is one. */
  mend?: string;
};
export type VerifyReport = {
  ok: boolean;
  accounts: number;
  transfers: number;
  usages: number;
  openHolds: number;
  /** The first open hold that expired more than `overdueGraceMs` ago; null when there is none. */
  overdue: string | null;
  discrepancies: Discrepancy[];
};

/**
 * Checks the books against the journal. Every account's balance is the sum of its entries, what
 * is held is the sum of open holds, entries sum to zero, no bounded account is negative, no settlement
 * exceeds its hold or names another payer, no hold outlives the longest request, every payment was
 * credited once and nothing else was, every refund and dispute was taken back or is owed. A request
 * is paid from the wallet of the user it names, to its app and the platform, and no limit has more
 * left than its month. The sums that reports read are those of the journal, and no date was shifted
 * by a time zone. Reads one snapshot (dates a second one), so it may run beside traffic.
 * `overdueGraceMs`: how long after it expired a hold may wait for the sweeper.
 * `longestRequestMs`: the longest time that a request of any server takes.
 */
export async function verify(sql: Sql, options: { overdueGraceMs?: number; longestRequestMs?: number } = {}): Promise<VerifyReport> {
  const longestRequestMs = Math.max(options.longestRequestMs ?? 0, A_DAY_MS);
  // One statement sees one snapshot.
  const [row] = await sql.query(verifyStatement, [options.overdueGraceMs ?? 60_000, longestRequestMs]);
  if (row === undefined) throw new Error("the database did not answer");
  const found = (typeof row.discrepancies === "string" ? JSON.parse(row.discrepancies) : row.discrepancies) as Discrepancy[];
  for (const each of found) if (each.rule.startsWith("sums by ")) each.mend = "`npm run usage:refold` makes the sums anew";
  found.push(...(await shiftedDates(sql)));
  return {
    ok: found.length === 0,
    accounts: Number(toBigInt(row.accounts)),
    transfers: Number(toBigInt(row.transfers)),
    usages: Number(toBigInt(row.usages)),
    openHolds: Number(toBigInt(row.open_holds)),
    overdue: row.overdue === null ? null : String(row.overdue),
    discrepancies: found,
  };
}

/** The least that is assumed for the longest request, because other servers may run with a longer one than this. */
const A_DAY_MS = 24 * 60 * 60_000;

const id = (account: keyof typeof platformAccount) => `'${platformAccount[account]}'::uuid`;

// The sums of usage/rollup.ts, stated independently: a check that shares their text would share their mistakes.
const apiKey = `coalesce(api_key_id, '00000000-0000-0000-0000-000000000000')`;
const externalUser = `coalesce(external_user_id, '')`;
const requestKey = `date_trunc('hour', created_at, 'UTC') AS hour, date_trunc('day', created_at, 'UTC') AS day,
        date_trunc('month', created_at, 'UTC') AS month, billing_mode = 'test' AS sandbox, model, ${apiKey} AS api_key_id,
        ${externalUser} AS external_user_id, wallet_id`;
const columns = ["requests", "failed", "prompt_tokens", "completion_tokens", "base", "markup"];
const summed = `
        count(*) FILTER (WHERE outcome IN ('completed', 'interrupted')) AS requests, count(*) FILTER (WHERE outcome IN ('failed', 'swept')) AS failed,
        coalesce(sum(prompt_tokens) FILTER (WHERE outcome IN ('completed', 'interrupted')), 0) AS prompt_tokens,
        coalesce(sum(completion_tokens) FILTER (WHERE outcome IN ('completed', 'interrupted')), 0) AS completion_tokens,
        sum(base) AS base, sum(markup) AS markup`;

/**
 * A checksum by which an app's requests are compared with their sums: each column times a constant, times a number made
 * from the key (`keyFactor`), added up. Grouping the requests by key to compare them would take several times as long.
 */
const weightOf = (requests: string, failed: string, prompt = "prompt_tokens", completion = "completion_tokens") =>
  `257::bigint * ${requests} + 251 * ${failed} + 509::bigint * ${prompt} + 503::bigint * ${completion} + base + 1021 * markup`;
const keyFactorOf = (...hashes: string[]) => `(((${hashes.join(" # ")}) & 65535) + 1)`;
const bucketHash = (moment: string, seconds: number) => `hashint8(floor(date_part('epoch', ${moment}) / ${seconds})::bigint)`;
const sandboxHash = `(sandbox::int * 12345)`;
const keyFactor = {
  hour: (moment: string) => keyFactorOf(bucketHash(moment, 3_600), sandboxHash, "hashtext(model)", "uuid_hash(api_key_id)"),
  day: (moment: string) => keyFactorOf(bucketHash(moment, 86_400), sandboxHash, "hashtext(external_user_id)", "uuid_hash(wallet_id)"),
  month: (moment: string) => keyFactorOf(bucketHash(moment, 86_400), sandboxHash, "hashtext(external_user_id)"),
};

/** Of the apps in `suspect`, the keys whose sums in a table differ from those of the requests, missing and surplus rows included. */
function sumsAreTrue(unit: "hour" | "day" | "month", table: string, key: readonly string[]): string {
  const list = key.join(", ");
  const figures = (of: string) => `concat_ws(' ', ${columns.map((column) => `coalesce(${of}.${column}, 0)`).join(", ")})`;
  const row = (of: string) => columns.map((column) => `${of}.${column}`).join(", ");
  return `
      SELECT 'sums by ${unit} are those of requests', 'app ' || concat_ws(' ', ${key.map((column) => `coalesce(s.${column}, t.${column})`).join(", ")}),
        ${figures("t")}, ${figures("s")}
      FROM (SELECT ${list}, ${columns.map((column) => `sum(${column}) AS ${column}`).join(", ")} FROM added GROUP BY ${list}) t
      FULL JOIN (SELECT s.* FROM suspect q JOIN LATERAL (SELECT s.* FROM ${table} s WHERE s.app_id = q.app_id OFFSET 0) s ON true) s
        ON ${key.map((column) => `s.${column} = t.${column}`).join(" AND ")}
      WHERE (${row("t")}) IS DISTINCT FROM (${row("s")})`;
}

const verifyStatement = {
  name: "ledger_verify",
  text: `
    -- The entries of the view ledger_entry, from a single scan of usage.
    WITH paid AS MATERIALIZED (
      SELECT wallet_id, limit_id, revenue_id, earnings_id, count(*) AS requests, sum(greatest(base + markup, 0)) AS charged,
        sum(greatest(base + shortfall, 0)) AS earned, sum(greatest(markup, 0)) AS markup, sum(greatest(shortfall, 0)) AS shortfall
      FROM usage GROUP BY 1, 2, 3, 4),
    moved AS MATERIALIZED (SELECT debit_id, credit_id, count(*) AS transfers, sum(amount) AS amount FROM transfer GROUP BY 1, 2),
    journal AS MATERIALIZED (
      SELECT account_id, sum(amount) AS total FROM (
        SELECT debit_id AS account_id, -amount AS amount FROM moved UNION ALL SELECT credit_id, amount FROM moved
        UNION ALL SELECT wallet_id, -charged FROM paid WHERE charged <> 0
        UNION ALL SELECT revenue_id, earned FROM paid WHERE earned <> 0
        UNION ALL SELECT earnings_id, markup FROM paid WHERE markup <> 0
        UNION ALL SELECT ${id("shortfall")}, -shortfall FROM paid WHERE shortfall <> 0
        UNION ALL SELECT limit_id, -charged FROM paid WHERE limit_id IS NOT NULL AND charged <> 0
        UNION ALL SELECT ${id("allowance")}, charged FROM paid WHERE limit_id IS NOT NULL AND charged <> 0) each
      GROUP BY account_id),
    waiting AS MATERIALIZED (SELECT account_id, sum(amount) AS total FROM account_delta GROUP BY account_id),
    grown AS MATERIALIZED (SELECT hold_id, sum(amount)::bigint AS amount FROM hold_growth GROUP BY hold_id),
    -- Holds without settlement, settlements without hold, and pairs of them with which something is wrong.
    odd AS MATERIALIZED (
      SELECT * FROM (
        SELECT h.id AS hold_id, u.id AS usage_id, h.app_id, h.billing_mode, h.amount, h.wallet_id, h.limit_id, h.revenue_id, h.earnings_id, h.created_at, h.expires_at,
          u.held AS u_held, u.wallet_id AS u_wallet, u.base + u.markup AS charged,
          (h.amount, h.wallet_id, h.limit_id, h.revenue_id, h.earnings_id, h.app_id, h.linked_user_id, h.billing_mode)
            IS NOT DISTINCT FROM (u.held, u.wallet_id, u.limit_id, u.revenue_id, u.earnings_id, u.app_id, u.linked_user_id, u.billing_mode) AS repeated,
          u.base + u.markup > u.held OR u.base < 0 OR u.markup < 0 AS exceeded,
          -- The row of a link that ended is deleted, so the payer of its requests can't be checked.
          CASE WHEN h.billing_mode = 'test' THEN a.sandbox_wallet_id WHEN h.linked_user_id IS NULL THEN o.wallet_id
            ELSE coalesce(p.wallet_id, h.wallet_id) END AS payer,
          CASE WHEN h.billing_mode = 'test' THEN ${id("sandbox")} ELSE ${id("revenue")} END AS platform,
          CASE WHEN h.billing_mode = 'test' THEN ${id("sandbox")} ELSE a.earnings_id END AS earner
        FROM (
          SELECT h.id, h.app_id, h.linked_user_id, h.billing_mode, h.wallet_id, h.limit_id, h.revenue_id, h.earnings_id, h.created_at, h.expires_at,
            h.amount + coalesce(g.amount, 0) AS amount FROM hold h LEFT JOIN grown g ON g.hold_id = h.id) h
        FULL JOIN usage u ON u.id = h.id
        LEFT JOIN app a ON a.id = h.app_id LEFT JOIN "user" o ON o.id = a.owner_id
        LEFT JOIN linked_user l ON l.id = h.linked_user_id LEFT JOIN "user" p ON p.id = l.user_id) each
      WHERE NOT repeated OR exceeded OR usage_id IS NULL OR hold_id IS NULL OR payer IS DISTINCT FROM wallet_id
        OR platform IS DISTINCT FROM revenue_id OR earner IS DISTINCT FROM earnings_id),
    open AS MATERIALIZED (SELECT * FROM odd WHERE usage_id IS NULL),
    reserved AS MATERIALIZED (
      SELECT account_id, sum(amount) AS total FROM (
        SELECT wallet_id AS account_id, amount FROM open UNION ALL SELECT limit_id, amount FROM open WHERE limit_id IS NOT NULL) each
      GROUP BY account_id),
    -- What each app took from each wallet since the month began, and what its requests hold.
    monthly AS MATERIALIZED (
      SELECT app_id, wallet_id, sum(base + markup) AS spent FROM usage
      WHERE billing_mode = 'user' AND created_at >= date_trunc('month', now(), 'UTC') GROUP BY 1, 2),
    underway AS MATERIALIZED (SELECT app_id, wallet_id, sum(amount) AS held FROM open WHERE billing_mode = 'user' GROUP BY 1, 2),
    -- What refunds and disputes took from each wallet, by the payments' rows and by the journal.
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
    -- The sums that reports read, up to the moment until which they are complete. One scan of usage computes a checksum for
    -- each app; only where that of its sums differs, its requests are grouped by key to find the difference.
    folded AS MATERIALIZED (SELECT coalesce((SELECT until FROM usage_fold WHERE id = 1), '-infinity') AS until),
    suspect AS MATERIALIZED (
      SELECT app_id FROM (
        SELECT app_id, sum(${keyFactor.hour("created_at")} * weight) AS hours, sum(${keyFactor.day("created_at")} * weight) AS days, 0 AS months
        FROM (
          SELECT app_id, created_at, billing_mode = 'test' AS sandbox, model, ${apiKey} AS api_key_id, ${externalUser} AS external_user_id, wallet_id,
            CASE WHEN outcome IN ('completed', 'interrupted') THEN ${weightOf("1", "0")} ELSE ${weightOf("0", "1", "0", "0")} END AS weight
          FROM usage WHERE created_at < (SELECT until FROM folded) OFFSET 0) u GROUP BY app_id
        UNION ALL SELECT app_id, -sum(${keyFactor.hour("hour")} * weight::numeric), 0, 0
        FROM (SELECT *, ${weightOf("requests", "failed")} AS weight FROM usage_hour) s GROUP BY app_id
        UNION ALL SELECT app_id, 0, -sum(${keyFactor.day("day")} * weight::numeric), sum(${keyFactor.month("date_trunc('month', day, 'UTC')")} * weight::numeric)
        FROM (SELECT *, ${weightOf("requests", "failed")} AS weight FROM usage_user_day) s GROUP BY app_id
        UNION ALL SELECT app_id, 0, 0, -sum(${keyFactor.month("month")} * weight::numeric)
        FROM (SELECT *, ${weightOf("requests", "failed")} AS weight FROM usage_user_month) s GROUP BY app_id) each
      GROUP BY app_id HAVING sum(hours) <> 0 OR sum(days) <> 0 OR sum(months) <> 0),
    added AS MATERIALIZED (
      SELECT q.app_id, ${requestKey}, ${summed}
      FROM suspect q JOIN LATERAL (SELECT u.* FROM usage u WHERE u.app_id = q.app_id AND u.created_at < (SELECT until FROM folded) OFFSET 0) u ON true
      GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9),
    found AS (
      SELECT 'an account equals the sum of its entries' AS rule, a.kind || ' ' || a.id AS what,
        coalesce(j.total, 0)::text AS expected, (a.available + a.held + coalesce(w.total, 0))::text AS found
      FROM account a LEFT JOIN journal j ON j.account_id = a.id LEFT JOIN waiting w ON w.account_id = a.id
      -- The allowance account, which refills limits: its row is not updated, only the journal has its entries.
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
      SELECT 'a settlement repeats its hold', 'usage ' || usage_id, coalesce(amount::text || ' from ' || wallet_id, 'a hold'), u_held::text || ' from ' || u_wallet
      FROM odd WHERE usage_id IS NOT NULL AND (hold_id IS NULL OR NOT repeated)
      UNION ALL
      SELECT 'what is added to a hold belongs to one', 'hold ' || g.hold_id, 'a hold', 'none'
      FROM grown g WHERE NOT EXISTS (SELECT 1 FROM hold h WHERE h.id = g.hold_id)
      UNION ALL
      SELECT 'no settlement exceeds its hold', 'usage ' || usage_id, u_held::text, charged::text FROM odd WHERE exceeded
      UNION ALL
      SELECT 'a request is paid by who it names', 'hold ' || hold_id, coalesce(payer::text, 'a wallet'), wallet_id::text
      FROM odd WHERE hold_id IS NOT NULL AND payer IS DISTINCT FROM wallet_id
      UNION ALL
      SELECT 'a request is paid to its app and the platform', 'hold ' || hold_id, concat_ws(' and ', platform, earner), concat_ws(' and ', revenue_id, earnings_id)
      FROM odd WHERE hold_id IS NOT NULL AND (platform IS DISTINCT FROM revenue_id OR earner IS DISTINCT FROM earnings_id)
      UNION ALL
      SELECT 'no hold outlives the longest request', 'hold ' || o.hold_id, o.expires_at::text, now()::text
      FROM open o WHERE o.expires_at + $1::int * interval '1 millisecond' < now()
      UNION ALL
      -- The ledger's functions take a lifetime as an int of milliseconds, so they have not written a longer one.
      SELECT 'no hold is open for longer than a request may take', 'hold ' || o.hold_id,
        (o.created_at + least($2::bigint, 2147483647) * interval '1 millisecond')::text, o.expires_at::text
      FROM open o WHERE o.expires_at > o.created_at + 2147483647 * interval '1 millisecond' OR (o.created_at + $2::bigint * interval '1 millisecond' < now()
        AND o.expires_at >= now())
      UNION ALL
      SELECT 'a link spends from the wallet of its person', 'linked user ' || l.id, p.wallet_id::text, l.wallet_id::text
      FROM linked_user l JOIN "user" p ON p.id = l.user_id WHERE l.wallet_id <> p.wallet_id
      UNION ALL
      SELECT 'an account is of the kind that its owner needs', owner || ' ' || x.id, x.kind || ' ' || x.account_id, coalesce(a.kind::text, 'none')
      FROM (
        SELECT 'user' AS owner, id, 'wallet' AS kind, wallet_id AS account_id FROM "user"
        UNION ALL SELECT 'app', id, 'earnings', earnings_id FROM app
        UNION ALL SELECT 'app', id, 'sandbox_wallet', sandbox_wallet_id FROM app
        UNION ALL SELECT 'agreement of user', user_id, 'limit', limit_id FROM agreement WHERE limit_id IS NOT NULL) x
      LEFT JOIN account a ON a.id = x.account_id WHERE a.kind::text IS DISTINCT FROM x.kind
      UNION ALL
      -- A limit that was lowered may be overspent, hence greatest(). One whose month is over is filled before anything is held.
      SELECT 'a limit has no more left than its month', 'linked user ' || l.id, l.may_have::text, l.available::text
      FROM (
        SELECT l.id, a.available,
          greatest(g.monthly_limit - coalesce(u.held, 0)
            - CASE WHEN g.limit_period_ends_at <= date_trunc('month', now(), 'UTC') + interval '1 month' THEN coalesce(m.spent, 0) ELSE 0 END, 0) AS may_have
        FROM linked_user l JOIN agreement g ON g.user_id = l.user_id AND g.app_id = l.app_id
        JOIN account a ON a.id = limit_in_force(g.monthly_limit, g.limit_id)
        LEFT JOIN monthly m ON m.app_id = l.app_id AND m.wallet_id = l.wallet_id
        LEFT JOIN underway u ON u.app_id = l.app_id AND u.wallet_id = l.wallet_id
        WHERE g.limit_period_ends_at > now()) l
      WHERE l.available > l.may_have
      UNION ALL
      SELECT 'links of one person to one app share one limit', 'app ' || l.app_id || ' and user ' || l.user_id, 'as agreed', count(*) || ' otherwise'
      FROM linked_user l JOIN agreement g ON g.user_id = l.user_id AND g.app_id = l.app_id
      -- The links' copies, which servers of the version before read.
      WHERE (l.limit_id, l.monthly_limit, l.limit_period_ends_at, l.allowed_models, l.agreed_markup_bps) IS DISTINCT FROM
        (limit_in_force(g.monthly_limit, g.limit_id), g.monthly_limit, g.limit_period_ends_at, g.allowed_models, g.agreed_markup_bps)
      GROUP BY l.app_id, l.user_id
      UNION ALL
      SELECT 'a paid top-up is credited once', 'payment ' || p.id, p.amount::text || ' to ' || p.wallet_id, coalesce(t.amount::text || ' to ' || t.credit_id, 'nothing')
      FROM payment p LEFT JOIN transfer t ON t.id = p.transfer_id
      WHERE p.status = 'paid' AND (t.id IS NULL OR (t.amount, t.credit_id, t.debit_id, t.reason) IS DISTINCT FROM (p.amount, p.wallet_id, CASE p.provider
        WHEN 'stripe' THEN '00000000-0000-7000-8000-000000000101'::uuid ELSE '00000000-0000-7000-8000-000000000102'::uuid END, 'top_up'::transfer_reason))
      UNION ALL
      SELECT 'a credited top-up is paid', 'transfer ' || t.id, 'a paid payment', coalesce(p.status::text, 'none')
      FROM transfer t LEFT JOIN payment p ON p.transfer_id = t.id
      WHERE t.reason = 'top_up' AND p.status IS DISTINCT FROM 'paid'
        -- Before there was a table of payments, top-ups came from the world account.
        AND NOT (t.debit_id = ${id("world")} AND t.created_at < (SELECT a.created_at FROM account a WHERE a.id = ${id("stripe")}))
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
      HAVING coalesce(sum(total), 0) <> -(SELECT coalesce(sum(amount), 0) FROM debt)
      UNION ALL${sumsAreTrue("hour", "usage_hour", ["app_id", "hour", "sandbox", "model", "api_key_id"])}
      UNION ALL${sumsAreTrue("day", "usage_user_day", ["app_id", "day", "sandbox", "external_user_id", "wallet_id"])}
      UNION ALL${sumsAreTrue("month", "usage_user_month", ["app_id", "month", "sandbox", "external_user_id"])})
    SELECT (SELECT count(*) FROM account) AS accounts, (SELECT coalesce(sum(transfers), 0) FROM moved)::bigint AS transfers,
      (SELECT coalesce(sum(requests), 0) FROM paid)::bigint AS usages, (SELECT count(*) FROM open) AS open_holds,
      (SELECT hold_id::text FROM open WHERE expires_at + $1::int * interval '1 millisecond' < now() ORDER BY hold_id LIMIT 1) AS overdue,
      coalesce((SELECT json_agg(f) FROM (SELECT * FROM found LIMIT 100) f), '[]') AS discrepancies`,
};
