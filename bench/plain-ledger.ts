import pg from "pg";
import type { HoldRequest, Settlement } from "../src/server/ledger/hold.ts";

/**
 * The reference for the ledger: a straightforward durable one. Every hold and every settlement
 * is one statement and one commit, over a pool of connections. It inserts the same rows into the
 * same tables, so `verify` applies to it too.
 */
export type PlainLedger = {
  /** The credits on hold; null when the request is refused. For requests with an API key for a linked user. */
  hold(request: HoldRequest): Promise<bigint | null>;
  /** The credits billed; null when there is no such hold, or it was settled before. */
  settle(settlement: Settlement): Promise<bigint | null>;
  close(): Promise<void>;
};

export function openPlainLedger(url: string, connections: number): PlainLedger {
  const pool = new pg.Pool({
    connectionString: url,
    max: connections,
    connectionTimeoutMillis: 10_000,
    // Idle connections stay open, because they have prepared plans.
    idleTimeoutMillis: 0,
    // As in post_batch: each connection plans a statement once, because planning takes longer than
    // the work, and plans for tables that grow, although they may be empty at that time.
    options: ["plan_cache_mode=force_generic_plan", "jit=off", "enable_seqscan=off", "enable_hashjoin=off", "enable_mergejoin=off"]
      .map((setting) => `-c ${setting}`)
      .join(" "),
  });
  // The database may be dropped while the last connections close.
  pool.on("error", () => {});
  const amount = async (query: pg.QueryConfig, field: string) => {
    const value: unknown = (await pool.query<Record<string, unknown>>(query)).rows[0]?.[field] ?? null;
    return value === null ? null : BigInt(value as string);
  };
  return {
    hold: (each) =>
      amount(
        {
          ...holdStatement,
          values: [
            each.id,
            each.credentialHash,
            each.externalUserId,
            each.desiredBase.toString(),
            each.minimumBase.toString(),
            each.model,
            each.lifetimeMs,
          ],
        },
        "granted",
      ),
    settle: (each) =>
      amount(
        {
          ...settleStatement,
          values: [
            each.id,
            each.base.toString(),
            each.markup.toString(),
            each.outcome,
            each.endpoint,
            each.provider,
            each.promptTokens,
            each.cachedTokens,
            each.completionTokens,
            each.countedBy,
            each.streamed,
            each.upstreamStatus,
            Math.round(each.durationMs),
          ],
        },
        "charged",
      ),
    close: () => pool.end(),
  };
}

// Both lock accounts in the order of ids and write absolute values from the locked
// row: `available - x` would be checked against the row before the lock.

const holdStatement = {
  name: "plain_hold",
  text: `
    WITH asked AS MATERIALIZED (
      SELECT k.app_id, k.id AS key_id, a.earnings_id, l.id AS link_id, l.wallet_id, l.limit_id,
        $4::bigint + ($4::bigint * m.bps + 9999) / 10000 AS desired, $5::bigint + ($5::bigint * m.bps + 9999) / 10000 AS needed
      FROM api_key k
      JOIN app a ON a.id = k.app_id
      JOIN linked_user l ON l.app_id = k.app_id AND l.external_user_id = $3::text
      CROSS JOIN LATERAL (SELECT least(a.markup_bps, l.agreed_markup_bps) AS bps) m
      WHERE k.hash = $2::bytea AND k.billing_mode <> 'test' AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
        AND l.paused_at IS NULL AND l.scope LIKE '%credits.spend%' AND (l.limit_period_ends_at IS NULL OR l.limit_period_ends_at > now())
        AND (a.allowed_models = '{}' OR $6::text = ANY (a.allowed_models)) AND (l.allowed_models = '{}' OR $6::text = ANY (l.allowed_models))),
    locked AS MATERIALIZED (
      SELECT a.id, a.available, a.held FROM account a
      WHERE a.id = ANY (ARRAY(SELECT wallet_id FROM asked UNION ALL SELECT limit_id FROM asked))
      ORDER BY a.id FOR NO KEY UPDATE OF a),
    granted AS MATERIALIZED (
      SELECT q.*, least(q.desired, w.available, l.available) AS amount
      FROM asked q JOIN locked w ON w.id = q.wallet_id LEFT JOIN locked l ON l.id = q.limit_id
      WHERE q.needed <= least(w.available, l.available)),
    entered AS (
      INSERT INTO hold (id, app_id, api_key_id, linked_user_id, external_user_id, billing_mode, wallet_id, limit_id, revenue_id, earnings_id, amount, model, expires_at)
      SELECT $1::uuid, g.app_id, g.key_id, g.link_id, $3::text, 'user', g.wallet_id, g.limit_id, '00000000-0000-7000-8000-000000000002', g.earnings_id,
        g.amount, $6::text, now() + $7::int * interval '1 millisecond'
      FROM granted g),
    moved AS (
      UPDATE account a SET available = k.available - g.amount, held = k.held + g.amount
      FROM locked k CROSS JOIN granted g WHERE a.id = k.id)
    SELECT g.amount AS granted FROM granted g`,
};

const settleStatement = {
  name: "plain_settle",
  text: `
    WITH opened AS MATERIALIZED (
      SELECT h.*, least($2::bigint, h.amount) AS base, least($3::bigint, h.amount - least($2::bigint, h.amount)) AS markup
      FROM hold h WHERE h.id = $1::uuid),
    locked AS MATERIALIZED (
      SELECT a.id, a.available, a.held FROM account a
      WHERE a.id = ANY (ARRAY(SELECT wallet_id FROM opened UNION ALL SELECT limit_id FROM opened))
      ORDER BY a.id FOR NO KEY UPDATE OF a),
    entered AS (
      INSERT INTO usage (id, app_id, api_key_id, linked_user_id, external_user_id, billing_mode, wallet_id, limit_id, revenue_id, earnings_id, held,
        base, markup, shortfall, outcome, endpoint, model, provider, prompt_tokens, cached_tokens, completion_tokens, counted_by, streamed,
        upstream_status, duration_ms)
      SELECT h.id, h.app_id, h.api_key_id, h.linked_user_id, h.external_user_id, h.billing_mode, h.wallet_id, h.limit_id, h.revenue_id, h.earnings_id, h.amount,
        h.base, h.markup, $2::bigint - h.base, $4::text::usage_outcome, $5::text, h.model, $6::text, $7::int, $8::int, $9::int, $10::text, $11::bool,
        $12::int, $13::int
      FROM opened h
      -- Two who settle one hold meet at its wallet, before anything is entered.
      WHERE (SELECT count(*) FROM locked) > 0
      ON CONFLICT (id) DO NOTHING
      RETURNING held, base, markup, shortfall, revenue_id, earnings_id),
    moved AS (
      UPDATE account a SET available = k.available + e.held - e.base - e.markup, held = k.held - e.held
      FROM locked k CROSS JOIN entered e WHERE a.id = k.id),
    summed AS (
      INSERT INTO account_delta (batch_id, account_id, amount)
      SELECT $1::uuid, x.account_id, x.amount
      FROM entered e
      CROSS JOIN LATERAL (VALUES (e.revenue_id, e.base + e.shortfall), (e.earnings_id, e.markup), ('00000000-0000-7000-8000-000000000004'::uuid, -e.shortfall))
        x(account_id, amount)
      WHERE x.amount <> 0)
    SELECT e.base + e.markup AS charged FROM entered e`,
};
