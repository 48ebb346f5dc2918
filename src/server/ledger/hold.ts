import { v7 as uuidv7 } from "uuid";
import type { Row, Sql } from "../platform/sql.ts";
import { bytesArray, plainArray, textArray, toBigInt, toBigIntOrNull } from "../platform/sql.ts";
import { platformAccount } from "./accounts.ts";

/**
 * Authenticate, find the payer and reserve the worst case: three steps in the
 * reading, one statement in the database, many requests at a time.
 */
export type HoldRequest = {
  /** UUIDv7, also the request's id. */
  id: string;
  /** SHA-256 of the API key or access token. */
  credentialHash: Uint8Array;
  /** The credential is a person's access token: their link to the token's app pays. */
  byToken: boolean;
  /** X-Quota-User, or null when the header is absent. It doesn't go with a token. */
  externalUserId: string | null;
  model: string;
  /** Base cost of the worst case, in credits. */
  desiredBase: bigint;
  /** Base cost of the least that is worth buying; between 1 and desiredBase. */
  minimumBase: bigint;
  /** After this long the sweeper may release the hold. */
  lifetimeMs: number;
};

export type HoldRefusal =
  | "invalid_api_key"
  | "user_required"
  | "not_found"
  | "model_not_allowed"
  | "insufficient_credits"
  | "spending_limit_reached"
  | "insufficient_scope";

export type HoldVerdict =
  | {
      kind: "held";
      id: string;
      /** Credits reserved: the desired total, or less when the payer had less. */
      amount: bigint;
      payer: Payer;
    }
  | {
      kind: "refused";
      reason: HoldRefusal;
      /** The payer, when it was found. */
      payer: Payer | null;
      /** What the payer could spend, and what the least would have cost. */
      available: bigint | null;
      needed: bigint | null;
    }
  /** A new month began: run `refillLimit` for this linked user, then ask again. */
  | { kind: "limit_due"; linkedUserId: string };

/** Whose credits one request spends, and under which terms. */
export type Payer = {
  appId: string;
  /** Null when an access token asked. */
  apiKeyId: string | null;
  /** Who pays: a `developer` key that names a linked user bills that user. */
  billingMode: "developer" | "user" | "test";
  markupBps: number;
  linkedUserId: string | null;
  walletId: string;
  limitId: string | null;
};

/**
 * Decides a batch of requests as if they had come one after the other: what was
 * accepted is committed when this resolves. An `undefined` in the answer was not
 * decided, because an earlier request of the batch wants the same short wallet;
 * put it in front of the next batch. The first request on each wallet is always
 * decided, so every request is decided in the end.
 */
export async function hold(sql: Sql, requests: readonly HoldRequest[]): Promise<(HoldVerdict | undefined)[]> {
  const byToken = requests.some((request) => request.byToken);
  const rows = await sql.query(byToken ? holdStatementWithTokens : holdStatement, [
    bytesArray(requests.map((request) => request.credentialHash)),
    textArray(requests.map((request) => request.externalUserId)),
    plainArray(requests.map((request) => request.desiredBase)),
    plainArray(requests.map((request) => request.minimumBase)),
    plainArray(requests.map((request) => request.id)),
    textArray(requests.map((request) => request.model)),
    plainArray(requests.map((request) => request.lifetimeMs)),
    ...(byToken ? [plainArray(requests.map((request) => (request.byToken ? "t" : "f")))] : []),
  ]);
  const verdicts: (HoldVerdict | undefined)[] = new Array(requests.length).fill(undefined);
  for (const row of rows) {
    const index = Number(row.n) - 1;
    const request = requests[index];
    if (request !== undefined) verdicts[index] = readVerdict(row, request.id);
  }
  return verdicts;
}

// The numbers are the statement's.
const refusals: Readonly<Record<number, HoldRefusal>> = {
  1: "invalid_api_key",
  2: "user_required",
  3: "not_found",
  4: "model_not_allowed",
  5: "insufficient_credits",
  6: "spending_limit_reached",
  8: "insufficient_scope",
};
const LIMIT_DUE = 7;
const INSUFFICIENT_SCOPE = 8;
const UNDECIDED = 9;

function readVerdict(row: Row, id: string): HoldVerdict | undefined {
  const code = Number(row.verdict);
  if (code === UNDECIDED) return undefined;
  if (code === LIMIT_DUE) return { kind: "limit_due", linkedUserId: String(row.linked_user_id) };
  const payer = row.wallet_id === null ? null : readPayer(row);
  if (code === 0 && payer !== null) return { kind: "held", id, amount: toBigInt(row.granted), payer };
  const reason = refusals[code];
  if (reason === undefined) throw new Error(`unknown verdict ${code}`);
  return { kind: "refused", reason, payer, available: toBigIntOrNull(row.can_spend), needed: toBigIntOrNull(row.minimum) };
}

function readPayer(row: Row): Payer {
  return {
    appId: String(row.app_id),
    apiKeyId: row.api_key_id === null ? null : String(row.api_key_id),
    billingMode: row.billing_mode as Payer["billingMode"],
    markupBps: Number(row.markup_bps),
    linkedUserId: row.linked_user_id === null ? null : String(row.linked_user_id),
    walletId: String(row.wallet_id),
    limitId: row.limit_id === null ? null : String(row.limit_id),
  };
}

// `asked`   resolves key or token, app and payer, and refuses what needs no balance.
//           Each table by a `lateral (… offset 0)` of its own: that keeps the look-ups
//           by index, on connections where the planner may not choose nested loops.
// `lk`      locks every wallet and limit of the batch in id order, so that two
//           batches can't wait for each other, and reads them as they are then.
// `able`    leaves out who cannot pay even the minimum, and sums up the others
//           per wallet and per limit in order of arrival.
// `decided` grants in full what fits; the first on a wallet gets what is left
//           of it; the rest is put off.
// A limit whose month is over is not held against; the caller refills it first.

const WITH_MARKUP = `q.desired + (q.desired * t.markup_bps + 9999) / 10000 AS desired,
        q.minimum + (q.minimum * t.markup_bps + 9999) / 10000 AS minimum`;

// A person pays the markup they agreed to, or less; a later rise needs their consent.
const AGREED_MARKUP = `CROSS JOIN LATERAL (SELECT least(a.markup_bps, l.agreed_markup_bps) AS markup_bps) t`;

const askedByKey = `
      SELECT q.n::int AS n, q.id, q.model, q.ext, q.lifetime_ms, k.app_id, k.api_key_id, t.markup_bps,
        CASE WHEN k.billing_mode <> 'test' AND q.ext IS NOT NULL THEN 'user' ELSE k.billing_mode END AS billing_mode,
        a.earnings_id, l.linked_user_id,
        CASE WHEN k.billing_mode = 'test' THEN a.sandbox_wallet_id WHEN q.ext IS NULL THEN o.wallet_id ELSE l.wallet_id END AS wallet_id,
        l.limit_id, ${WITH_MARKUP},
        CASE WHEN k.api_key_id IS NULL THEN 1
          WHEN k.billing_mode = 'user' AND q.ext IS NULL THEN 2
          WHEN k.billing_mode = 'test' THEN CASE
            WHEN q.ext = 'sandbox_missing' THEN 3
            WHEN a.allowed_models <> '{}' AND q.model <> ALL (a.allowed_models) THEN 4
            WHEN q.ext = 'sandbox_empty' THEN 5 ELSE 0 END
          WHEN q.ext IS NOT NULL AND l.linked_user_id IS NULL THEN 3
          WHEN a.allowed_models <> '{}' AND q.model <> ALL (a.allowed_models) THEN 4
          WHEN l.allowed_models <> '{}' AND q.model <> ALL (l.allowed_models) THEN 4
          WHEN l.limit_period_ends_at <= now() THEN ${LIMIT_DUE}
          ELSE 0 END AS verdict
      FROM q
      LEFT JOIN LATERAL (
        SELECT k.id AS api_key_id, k.app_id, k.billing_mode FROM api_key k
        WHERE k.hash = q.hash AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now()) OFFSET 0) k ON true
      LEFT JOIN LATERAL (
        SELECT a.owner_id, a.markup_bps, a.allowed_models, a.earnings_id, a.sandbox_wallet_id FROM app a WHERE a.id = k.app_id OFFSET 0) a ON true
      LEFT JOIN LATERAL (SELECT u.wallet_id FROM "user" u WHERE u.id = a.owner_id AND q.ext IS NULL OFFSET 0) o ON true
      LEFT JOIN LATERAL (
        SELECT l.id AS linked_user_id, l.wallet_id, l.limit_id, l.limit_period_ends_at, l.allowed_models, l.agreed_markup_bps FROM linked_user l
        WHERE l.app_id = k.app_id AND l.external_user_id = q.ext AND l.paused_at IS NULL AND l.scope LIKE '%credits.spend%'
          AND k.billing_mode <> 'test' OFFSET 0) l ON true
      ${AGREED_MARKUP}`;

// A token is good for as long as its grant is there, and the grant for as long as
// the link. Both say what may be done: the token what the app asked for, the link
// what the person agreed to last.
const askedByToken = `
      SELECT q.n::int, q.id, q.model, l.external_user_id, q.lifetime_ms, l.app_id, NULL::uuid, t.markup_bps, 'user'::billing_mode,
        a.earnings_id, l.linked_user_id, l.wallet_id, l.limit_id, ${WITH_MARKUP},
        CASE WHEN g.grant_id IS NULL THEN 1
          WHEN 'credits.spend' <> ALL (string_to_array(coalesce(k.scope, ''), ' ')) THEN ${INSUFFICIENT_SCOPE}
          WHEN l.linked_user_id IS NULL THEN 1
          WHEN 'credits.spend' <> ALL (string_to_array(l.scope, ' ')) THEN ${INSUFFICIENT_SCOPE}
          WHEN l.paused_at IS NOT NULL THEN 3
          WHEN a.allowed_models <> '{}' AND q.model <> ALL (a.allowed_models) THEN 4
          WHEN l.allowed_models <> '{}' AND q.model <> ALL (l.allowed_models) THEN 4
          WHEN l.limit_period_ends_at <= now() THEN ${LIMIT_DUE}
          ELSE 0 END
      FROM q
      LEFT JOIN LATERAL (
        SELECT r.grant_id, r.payload->>'scope' AS scope FROM oauth_record r
        WHERE r.kind = 'AccessToken' AND r.id_hash = q.hash AND r.expires_at > now() OFFSET 0) k ON true
      LEFT JOIN LATERAL (
        SELECT r.grant_id, r.linked_user_id FROM oauth_record r
        WHERE r.grant_id = k.grant_id AND r.kind = 'Grant' AND r.expires_at > now() OFFSET 0) g ON true
      LEFT JOIN LATERAL (
        SELECT l.id AS linked_user_id, l.app_id, l.external_user_id, l.wallet_id, l.limit_id, l.limit_period_ends_at, l.allowed_models,
          l.agreed_markup_bps, l.scope, l.paused_at
        FROM linked_user l WHERE l.id = g.linked_user_id OFFSET 0) l ON true
      LEFT JOIN LATERAL (SELECT a.markup_bps, a.allowed_models, a.earnings_id FROM app a WHERE a.id = l.app_id OFFSET 0) a ON true
      ${AGREED_MARKUP}`;

const REQUESTS = "unnest($1::bytea[], $2::text[], $3::bigint[], $4::bigint[], $5::uuid[], $6::text[], $7::int[]";
const COLUMNS = "hash, ext, desired, minimum, id, model, lifetime_ms";

/** Keys come without the tables that only tokens need. */
const holdStatement = {
  name: "ledger_hold",
  text: holding(askedByKey.replace("FROM q", `FROM ${REQUESTS}) WITH ORDINALITY q(${COLUMNS}, n)`)),
};

const holdStatementWithTokens = {
  name: "ledger_hold_with_tokens",
  text: holding(
    [askedByKey, askedByToken]
      .map((asked, index) =>
        asked.replace(
          "FROM q",
          `FROM (SELECT * FROM ${REQUESTS}, $8::bool[]) WITH ORDINALITY q(${COLUMNS}, by_token, n) WHERE ${index === 0 ? "NOT " : ""}q.by_token) q`,
        ),
      )
      .join(" UNION ALL "),
  ),
};

function holding(asked: string): string {
  return `
    WITH asked AS MATERIALIZED (${asked}),
    lk AS MATERIALIZED (
      SELECT a.id, a.available, a.held FROM account a
      WHERE a.id = ANY (ARRAY(SELECT wallet_id FROM asked WHERE verdict = 0 UNION SELECT limit_id FROM asked WHERE verdict = 0 AND limit_id IS NOT NULL))
      ORDER BY a.id FOR NO KEY UPDATE OF a),
    able AS MATERIALIZED (
      SELECT r.*, w.available AS wallet_has, l.available AS limit_has,
        sum(r.desired) OVER (PARTITION BY r.wallet_id ORDER BY r.n) AS wallet_sum,
        sum(r.desired) OVER (PARTITION BY r.limit_id ORDER BY r.n) AS limit_sum
      FROM asked r JOIN lk w ON w.id = r.wallet_id LEFT JOIN lk l ON l.id = r.limit_id
      WHERE r.verdict = 0 AND r.minimum <= w.available AND (r.limit_id IS NULL OR r.minimum <= l.available)),
    decided AS MATERIALIZED (
      SELECT *, CASE
        WHEN wallet_sum <= wallet_has AND (limit_id IS NULL OR limit_sum <= limit_has) THEN desired
        WHEN wallet_sum = desired THEN least(desired, wallet_has, limit_has) END AS granted
      FROM able),
    entered AS (
      INSERT INTO hold (id, app_id, api_key_id, linked_user_id, external_user_id, billing_mode, wallet_id, limit_id, revenue_id, earnings_id, amount, model, expires_at)
      SELECT id, app_id, api_key_id, linked_user_id, ext, billing_mode, wallet_id, limit_id,
        CASE WHEN billing_mode = 'test' THEN '${platformAccount.sandbox}'::uuid ELSE '${platformAccount.revenue}'::uuid END,
        CASE WHEN billing_mode = 'test' THEN '${platformAccount.sandbox}'::uuid ELSE earnings_id END,
        granted, model, now() + lifetime_ms * interval '1 millisecond'
      FROM decided WHERE granted IS NOT NULL ORDER BY id),
    taken AS MATERIALIZED (
      SELECT id, sum(granted)::bigint AS amount FROM (
        SELECT wallet_id AS id, granted FROM decided WHERE granted IS NOT NULL
        UNION ALL SELECT limit_id, granted FROM decided WHERE granted IS NOT NULL AND limit_id IS NOT NULL) each GROUP BY id),
    updated AS (
      UPDATE account a SET available = lk.available - t.amount, held = lk.held + t.amount
      FROM taken t JOIN lk ON lk.id = t.id WHERE a.id = t.id AND a.id = ANY (ARRAY(SELECT id FROM taken)))
    SELECT r.n, r.app_id, r.api_key_id, r.billing_mode, r.markup_bps, r.linked_user_id, r.wallet_id, r.limit_id, r.minimum, d.granted,
      least(w.available, l.available) AS can_spend,
      CASE WHEN r.verdict <> 0 THEN r.verdict WHEN d.granted IS NOT NULL THEN 0 WHEN d.n IS NOT NULL THEN ${UNDECIDED}
        WHEN r.minimum > w.available THEN 5 ELSE 6 END AS verdict
    FROM asked r LEFT JOIN decided d ON d.n = r.n LEFT JOIN lk w ON w.id = r.wallet_id LEFT JOIN lk l ON l.id = r.limit_id`;
}

/** What became of a held request. Tokens and credits are never below zero. */
export type Settlement = {
  /** The hold's id. */
  id: string;
  /** What the request cost, in credits, before looking at the hold. */
  base: bigint;
  markup: bigint;
  outcome: "completed" | "interrupted" | "failed" | "swept";
  endpoint: string;
  provider: string | null;
  promptTokens: number;
  cachedTokens: number;
  completionTokens: number;
  countedBy: "provider" | "tokenizer" | null;
  streamed: boolean;
  upstreamStatus: number | null;
  durationMs: number;
};

/** The settlement that returns all of a hold. */
export function unused(id: string, outcome: Settlement["outcome"], endpoint: string): Settlement {
  return {
    id,
    base: 0n,
    markup: 0n,
    outcome,
    endpoint,
    provider: null,
    promptTokens: 0,
    cachedTokens: 0,
    completionTokens: 0,
    countedBy: null,
    streamed: false,
    upstreamStatus: null,
    durationMs: 0,
  };
}

export type SettleVerdict =
  | {
      kind: "settled";
      /** What the payer was billed: base + markup, at most what was held. */
      charged: bigint;
      /** The wallet's credits afterwards, those held by other requests included. */
      balanceAfter: bigint;
    }
  | { kind: "already_resolved" }
  | { kind: "unknown_hold" };

/**
 * Spends what was used and returns the rest of each hold, in one commit with the
 * usage record. A hold resolves exactly once: whoever comes second is told
 * `already_resolved` and moves nothing. The payer never pays more than was held:
 * base cost above it is borne by the platform and entered as its shortfall, and
 * markup that nobody paid is nobody's earnings.
 */
export async function settle(sql: Sql, settlements: readonly Settlement[]): Promise<SettleVerdict[]> {
  const rows = await sql.query(settleStatement, [
    plainArray(settlements.map((each) => each.id)),
    plainArray(settlements.map((each) => each.base)),
    plainArray(settlements.map((each) => each.markup)),
    plainArray(settlements.map((each) => each.outcome)),
    textArray(settlements.map((each) => each.endpoint)),
    textArray(settlements.map((each) => each.provider)),
    plainArray(settlements.map((each) => each.promptTokens)),
    plainArray(settlements.map((each) => each.cachedTokens)),
    plainArray(settlements.map((each) => each.completionTokens)),
    textArray(settlements.map((each) => each.countedBy)),
    plainArray(settlements.map((each) => (each.streamed ? "t" : "f"))),
    plainArray(settlements.map((each) => each.upstreamStatus)),
    plainArray(settlements.map((each) => Math.round(each.durationMs))),
    uuidv7(),
  ]);
  const verdicts: SettleVerdict[] = new Array(settlements.length).fill({ kind: "already_resolved" });
  for (const row of rows) {
    verdicts[Number(row.n) - 1] =
      row.known === false
        ? { kind: "unknown_hold" }
        : row.won === true
          ? { kind: "settled", charged: toBigInt(row.charged), balanceAfter: toBigInt(row.balance_after) }
          : { kind: "already_resolved" };
  }
  return verdicts;
}

// `asked`  one row per hold, with how much of the cost the hold covers: base
//          first, then markup; the rest of the base is the platform's shortfall.
// `lk`     locks wallets and limits in id order, before the usage rows go in: two
//          that settle the same hold meet at its wallet.
// `entered` the exactly-once guard: a hold whose usage row exists is left alone.
const settleStatement = {
  name: "ledger_settle",
  text: `
    WITH asked AS MATERIALIZED (
      SELECT q.*, h.app_id, h.api_key_id, h.linked_user_id, h.external_user_id, h.billing_mode, h.wallet_id, h.limit_id, h.revenue_id, h.earnings_id, h.model,
        h.amount AS held, h.id IS NOT NULL AS known,
        least(q.base, h.amount) AS paid_base, least(q.markup, h.amount - least(q.base, h.amount)) AS paid_markup
      FROM (
        SELECT DISTINCT ON (q.id) q.* FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::int[], $8::int[], $9::int[], $10::text[], $11::bool[], $12::int[], $13::int[])
          WITH ORDINALITY q(id, base, markup, outcome, endpoint, provider, prompt_tokens, cached_tokens, completion_tokens, counted_by, streamed, upstream_status, duration_ms, n)
        ORDER BY q.id, q.n) q
      LEFT JOIN LATERAL (SELECT h.* FROM hold h WHERE h.id = q.id OFFSET 0) h ON true),
    lk AS MATERIALIZED (
      SELECT a.id, a.available, a.held FROM account a
      WHERE a.id = ANY (ARRAY(SELECT wallet_id FROM asked WHERE known UNION SELECT limit_id FROM asked WHERE known AND limit_id IS NOT NULL))
      ORDER BY a.id FOR NO KEY UPDATE OF a),
    entered AS (
      INSERT INTO usage (id, app_id, api_key_id, linked_user_id, external_user_id, billing_mode, wallet_id, limit_id, revenue_id, earnings_id, held,
        base, markup, shortfall, outcome, endpoint, model, provider, prompt_tokens, cached_tokens, completion_tokens,
        counted_by, streamed, upstream_status, duration_ms)
      SELECT id, app_id, api_key_id, linked_user_id, external_user_id, billing_mode, wallet_id, limit_id, revenue_id, earnings_id, held,
        paid_base, paid_markup, base - paid_base, outcome::usage_outcome, endpoint, model, provider, prompt_tokens, cached_tokens, completion_tokens,
        counted_by, streamed, upstream_status, duration_ms
      FROM asked WHERE known AND (SELECT count(*) FROM lk) >= 0 ORDER BY id
      ON CONFLICT (id) DO NOTHING RETURNING id),
    settled AS MATERIALIZED (SELECT s.* FROM asked s JOIN entered e ON e.id = s.id),
    summed AS (
      INSERT INTO account_delta (batch_id, account_id, amount)
      SELECT $14::uuid, account_id, sum(amount) FROM (
        SELECT revenue_id AS account_id, base AS amount FROM settled
        UNION ALL SELECT earnings_id, paid_markup FROM settled
        UNION ALL SELECT '${platformAccount.shortfall}'::uuid, paid_base - base FROM settled) each
      GROUP BY account_id HAVING sum(amount) <> 0),
    freed AS MATERIALIZED (
      SELECT id, sum(held)::bigint AS held, sum(held - paid)::bigint AS returned FROM (
        SELECT wallet_id AS id, held, paid_base + paid_markup AS paid FROM settled
        UNION ALL SELECT limit_id, held, paid_base + paid_markup FROM settled WHERE limit_id IS NOT NULL) each GROUP BY id),
    updated AS (
      UPDATE account a SET held = lk.held - f.held, available = lk.available + f.returned
      FROM freed f JOIN lk ON lk.id = f.id WHERE a.id = f.id AND a.id = ANY (ARRAY(SELECT id FROM freed)))
    SELECT s.n::int AS n, s.known, e.id IS NOT NULL AS won, s.paid_base + s.paid_markup AS charged,
      lk.available + lk.held - (sum(s.paid_base + s.paid_markup) FILTER (WHERE e.id IS NOT NULL) OVER (PARTITION BY s.wallet_id ORDER BY s.n))::bigint AS balance_after
    FROM asked s LEFT JOIN entered e ON e.id = s.id LEFT JOIN lk ON lk.id = s.wallet_id`,
};
