-- The payer of a request, or why it is refused: from a credential, the user that the request names and the model. One
-- source for API keys and access tokens, for reserve_hold and post_batch. Postgres inlines these functions into their
-- statements, so each must stay a single SELECT without settings of its own, not STRICT and at most STABLE. OFFSET 0
-- keeps each look-up by index. The rules are tested in connect/payers.test.ts, and each has mutations in
-- mutations/payers.ts.

-- Whether a scope (words separated by spaces) has this word.
CREATE OR REPLACE FUNCTION "scope_grants"(scope text, word text) RETURNS bool LANGUAGE sql IMMUTABLE AS $$
  SELECT word = ANY (string_to_array(scope, ' '))
$$;

-- Whether a list of models allows this one; an empty list allows any.
CREATE OR REPLACE FUNCTION "models_allow"(allowed text[], model text) RETURNS bool LANGUAGE sql IMMUTABLE AS $$
  SELECT allowed = '{}' OR model = ANY (allowed)
$$;

-- A user pays the agreed markup or the app's, whichever is lower: a later rise needs the user's consent.
CREATE OR REPLACE FUNCTION "payer_markup"(of_app int, agreed int) RETURNS int LANGUAGE sql IMMUTABLE AS $$
  SELECT least(of_app, agreed)
$$;

-- For keys that spend their developer's credits, or the sandbox's. Only test keys come here with a user's name; the sandbox has
-- two users for testing refusals.
CREATE OR REPLACE FUNCTION "verdict_without_link"(mode billing_mode, named text, model text, app_models text[])
RETURNS hold_verdict LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE
    WHEN mode = 'user' AND named IS NULL THEN 'user_required'
    WHEN named = 'sandbox_missing' THEN 'not_found'
    WHEN NOT models_allow(app_models, model) THEN 'model_not_allowed'
    WHEN named = 'sandbox_empty' THEN 'insufficient_credits'
    ELSE 'held'::hold_verdict END
$$;

-- For a link, which keys and tokens find differently. When the link is missing or does not allow spending, an app's key gets
-- `not_found` and a token the reason. `asked`: the token's scope; `granted`: the link's.
CREATE OR REPLACE FUNCTION "verdict_of_link"(
  by_token bool, asked text, model text, app_models text[],
  link_id uuid, granted text, paused_at timestamptz, link_models text[], limit_ends_at timestamptz)
RETURNS hold_verdict LANGUAGE sql STABLE AS $$
  SELECT CASE
    WHEN by_token AND scope_grants(asked, 'credits.spend') IS NOT TRUE THEN 'insufficient_scope'
    WHEN link_id IS NULL THEN CASE WHEN by_token THEN 'invalid_api_key'::hold_verdict ELSE 'not_found' END
    WHEN NOT scope_grants(granted, 'credits.spend') THEN CASE WHEN by_token THEN 'insufficient_scope'::hold_verdict ELSE 'not_found' END
    WHEN paused_at IS NOT NULL THEN 'not_found'
    WHEN NOT models_allow(app_models, model) THEN 'model_not_allowed'
    WHEN NOT models_allow(link_models, model) THEN 'model_not_allowed'
    WHEN limit_ends_at <= now() THEN 'limit_due'
    ELSE 'held'::hold_verdict END
$$;

-- The link has the payer's wallet; its agreement has limit, models and markup.
--
-- A key is valid until it is revoked or expires. No row: there is no valid key.
CREATE OR REPLACE FUNCTION "payer_of_key"(credential bytea, named text, model text)
RETURNS TABLE (verdict hold_verdict, app_id uuid, key_id uuid, mode billing_mode, external_user_id text, link_id uuid,
  wallet_id uuid, limit_id uuid, markup_bps int, may_read bool, earnings_id uuid)
ROWS 1 LANGUAGE sql STABLE AS $$
  SELECT
    CASE WHEN k.billing_mode = 'test' OR named IS NULL THEN verdict_without_link(k.billing_mode, named, model, a.allowed_models)
      ELSE verdict_of_link(false, NULL, model, a.allowed_models, l.id, l.scope, l.paused_at, l.allowed_models, l.limit_period_ends_at) END,
    k.app_id, k.id, CASE WHEN k.billing_mode <> 'test' AND named IS NOT NULL THEN 'user'::billing_mode ELSE k.billing_mode END, named, l.id,
    CASE WHEN k.billing_mode = 'test' THEN a.sandbox_wallet_id
      WHEN named IS NULL THEN (SELECT u.wallet_id FROM "user" u WHERE u.id = a.owner_id) ELSE l.wallet_id END,
    limit_in_force(l.monthly_limit, l.limit_id), payer_markup(a.markup_bps, l.agreed_markup_bps), l.id IS NULL OR scope_grants(l.scope, 'credits.read'), a.earnings_id
  FROM (
    SELECT k.id, k.app_id, k.billing_mode FROM api_key k
    WHERE k.hash = credential AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now()) OFFSET 0) k
  CROSS JOIN LATERAL (
    SELECT a.owner_id, a.markup_bps, a.allowed_models, a.earnings_id, a.sandbox_wallet_id FROM app a WHERE a.id = k.app_id OFFSET 0) a
  LEFT JOIN LATERAL (
    SELECT l.id, l.scope, l.paused_at, l.wallet_id, g.monthly_limit, g.limit_id, g.limit_period_ends_at, g.allowed_models, g.agreed_markup_bps
    FROM linked_user l JOIN agreement g ON g.user_id = l.user_id AND g.app_id = l.app_id
    WHERE l.app_id = k.app_id AND l.external_user_id = named AND k.billing_mode <> 'test' OFFSET 0) l ON true
$$;

-- A token is valid until it expires or its grant or link ends. Its scope is what the app asked for, the link's is what the
-- user agreed to last; both have to allow an action. No row: there is no valid token.
CREATE OR REPLACE FUNCTION "payer_of_token"(credential bytea, model text)
RETURNS TABLE (verdict hold_verdict, app_id uuid, key_id uuid, mode billing_mode, external_user_id text, link_id uuid,
  wallet_id uuid, limit_id uuid, markup_bps int, may_read bool, earnings_id uuid)
ROWS 1 LANGUAGE sql STABLE AS $$
  SELECT verdict_of_link(true, t.scope, model, a.allowed_models, l.id, l.scope, l.paused_at, l.allowed_models, l.limit_period_ends_at),
    l.app_id, NULL::uuid, 'user'::billing_mode, l.external_user_id, l.id, l.wallet_id, limit_in_force(l.monthly_limit, l.limit_id),
    payer_markup(a.markup_bps, l.agreed_markup_bps),
    coalesce(scope_grants(t.scope, 'credits.read') AND scope_grants(l.scope, 'credits.read'), false), a.earnings_id
  FROM (
    SELECT r.grant_id, r.payload->>'scope' AS scope FROM oauth_record r
    WHERE r.kind = 'AccessToken' AND r.id_hash = credential AND r.expires_at > now() OFFSET 0) t
  CROSS JOIN LATERAL (
    SELECT r.linked_user_id FROM oauth_record r WHERE r.grant_id = t.grant_id AND r.kind = 'Grant' AND r.expires_at > now() OFFSET 0) r
  LEFT JOIN LATERAL (
    SELECT l.id, l.app_id, l.external_user_id, l.scope, l.paused_at, l.wallet_id, g.monthly_limit, g.limit_id, g.limit_period_ends_at,
      g.allowed_models, g.agreed_markup_bps
    FROM linked_user l JOIN agreement g ON g.user_id = l.user_id AND g.app_id = l.app_id WHERE l.id = r.linked_user_id OFFSET 0) l ON true
  LEFT JOIN LATERAL (SELECT a.markup_bps, a.allowed_models, a.earnings_id FROM app a WHERE a.id = l.app_id OFFSET 0) a ON true
$$;

-- The payer for either credential.
CREATE OR REPLACE FUNCTION "payer_of"(credential bytea, by_token bool, named text, model text)
RETURNS TABLE (verdict hold_verdict, app_id uuid, key_id uuid, mode billing_mode, external_user_id text, link_id uuid,
  wallet_id uuid, limit_id uuid, markup_bps int, may_read bool, earnings_id uuid)
ROWS 1 LANGUAGE sql STABLE AS $$
  SELECT k.* FROM payer_of_key(credential, named, model) k WHERE NOT by_token
  UNION ALL
  SELECT t.* FROM payer_of_token(credential, model) t WHERE by_token
$$;
