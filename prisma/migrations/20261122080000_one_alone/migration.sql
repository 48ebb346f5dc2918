-- What ledger_post does, for a settlement or a request that came alone: the same
-- decisions in the same order, without arrays. Where little is asked at a time, most
-- batches are of one, and a call of ledger_post takes them twice as long.

-- Locks a wallet and a limit, in id order as ledger_post does, and says what they have.
CREATE FUNCTION "ledger_lock_two"(wallet uuid, "limit" uuid,
  OUT wallet_available bigint, OUT wallet_held bigint, OUT limit_available bigint, OUT limit_held bigint)
LANGUAGE plpgsql AS $$
BEGIN
  IF "limit" < wallet THEN
    SELECT a.available, a.held INTO limit_available, limit_held FROM account a WHERE a.id = "limit" FOR NO KEY UPDATE OF a;
  END IF;
  SELECT a.available, a.held INTO wallet_available, wallet_held FROM account a WHERE a.id = wallet FOR NO KEY UPDATE OF a;
  IF "limit" > wallet THEN
    SELECT a.available, a.held INTO limit_available, limit_held FROM account a WHERE a.id = "limit" FOR NO KEY UPDATE OF a;
  END IF;
  -- least() passes over NULL: what is not there must not look like no limit.
  IF wallet_available IS NULL OR ("limit" IS NOT NULL AND limit_available IS NULL) THEN
    RAISE EXCEPTION 'wallet % or limit % is no account', wallet, "limit" USING ERRCODE = 'null_value_not_allowed';
  END IF;
END $$;

CREATE FUNCTION "ledger_settle_one"(
  settle_id uuid, base bigint, markup bigint, outcome text, endpoint text, provider text, prompt int, cached int, completion int, counted text,
  streamed bool, status int, duration int, batch uuid,
  OUT settled int, OUT charged bigint, OUT balance bigint)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
  shortfall_account CONSTANT uuid := '00000000-0000-7000-8000-000000000004';
  h hold; accounts record; paid_base bigint; paid_markup bigint;
BEGIN
  SELECT * INTO h FROM hold WHERE id = settle_id;
  IF NOT FOUND THEN
    settled := 2;
    RETURN;
  END IF;
  paid_base := least(base, h.amount);
  paid_markup := least(markup, h.amount - paid_base);
  accounts := ledger_lock_two(h.wallet_id, h.limit_id);
  INSERT INTO usage (id, app_id, api_key_id, linked_user_id, external_user_id, billing_mode, wallet_id, limit_id, revenue_id, earnings_id, held,
    base, markup, shortfall, outcome, endpoint, model, provider, prompt_tokens, cached_tokens, completion_tokens, counted_by, streamed,
    upstream_status, duration_ms)
  VALUES (h.id, h.app_id, h.api_key_id, h.linked_user_id, h.external_user_id, h.billing_mode, h.wallet_id, h.limit_id, h.revenue_id, h.earnings_id,
    h.amount, paid_base, paid_markup, base - paid_base, outcome::usage_outcome, endpoint, h.model, provider, prompt, cached, completion, counted,
    streamed, status, duration)
  ON CONFLICT (id) DO NOTHING;
  IF NOT FOUND THEN
    settled := 1;
    RETURN;
  END IF;
  settled := 0;
  charged := paid_base + paid_markup;
  -- In the sandbox both are one account.
  IF h.revenue_id = h.earnings_id THEN
    IF base + paid_markup > 0 THEN INSERT INTO account_delta (batch_id, account_id, amount) VALUES (batch, h.revenue_id, base + paid_markup); END IF;
  ELSE
    IF base > 0 THEN INSERT INTO account_delta (batch_id, account_id, amount) VALUES (batch, h.revenue_id, base); END IF;
    IF paid_markup > 0 THEN INSERT INTO account_delta (batch_id, account_id, amount) VALUES (batch, h.earnings_id, paid_markup); END IF;
  END IF;
  IF base > paid_base THEN
    INSERT INTO account_delta (batch_id, account_id, amount) VALUES (batch, shortfall_account, paid_base - base);
  END IF;
  UPDATE account SET available = accounts.wallet_available + h.amount - charged, held = accounts.wallet_held - h.amount WHERE id = h.wallet_id;
  balance := accounts.wallet_available + accounts.wallet_held - charged;
  IF h.limit_id IS NOT NULL THEN
    UPDATE account SET available = accounts.limit_available + h.amount - charged, held = accounts.limit_held - h.amount WHERE id = h.limit_id;
  END IF;
  PERFORM "ledger_tell"(ARRAY[settle_id], ARRAY[settled], ARRAY[charged], ARRAY[balance], ARRAY[outcome], ARRAY[endpoint], ARRAY[prompt],
    ARRAY[completion], batch);
END $$;

-- For API keys; a token's request always goes by ledger_post.
CREATE FUNCTION "ledger_hold_one"(
  hold_id uuid, credential bytea, ext text, desired bigint, minimum bigint, model text, lifetime int,
  OUT verdict int, OUT granted bigint, OUT can_spend bigint, OUT needed bigint, OUT app_ids uuid, OUT key_ids uuid, OUT modes text,
  OUT markups int, OUT link_ids uuid, OUT wallet_ids uuid, OUT limit_ids uuid, OUT may_read bool)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
  earning uuid; accounts record; link record; amount bigint;
BEGIN
  SELECT k.app_id, k.id, a.earnings_id, l.id, l.limit_id, l.id IS NULL OR l.scope LIKE '%credits.read%', least(a.markup_bps, l.agreed_markup_bps),
    CASE WHEN k.billing_mode <> 'test' AND ext IS NOT NULL THEN 'user' ELSE k.billing_mode::text END,
    CASE WHEN k.billing_mode = 'test' THEN a.sandbox_wallet_id
      WHEN ext IS NULL THEN (SELECT u.wallet_id FROM "user" u WHERE u.id = a.owner_id) ELSE l.wallet_id END,
    CASE WHEN k.billing_mode = 'user' AND ext IS NULL THEN 2
      WHEN k.billing_mode = 'test' THEN CASE
        WHEN ext = 'sandbox_missing' THEN 3
        WHEN a.allowed_models <> '{}' AND model <> ALL (a.allowed_models) THEN 4
        WHEN ext = 'sandbox_empty' THEN 5 ELSE 0 END
      WHEN ext IS NOT NULL AND l.id IS NULL THEN 3
      WHEN a.allowed_models <> '{}' AND model <> ALL (a.allowed_models) THEN 4
      WHEN l.allowed_models <> '{}' AND model <> ALL (l.allowed_models) THEN 4
      WHEN l.limit_period_ends_at <= now() THEN 7
      ELSE 0 END
  INTO app_ids, key_ids, earning, link_ids, limit_ids, may_read, markups, modes, wallet_ids, verdict
  FROM api_key k
  JOIN app a ON a.id = k.app_id
  LEFT JOIN linked_user l ON l.app_id = k.app_id AND l.external_user_id = ext AND l.paused_at IS NULL AND l.scope LIKE '%credits.spend%'
    AND k.billing_mode <> 'test'
  WHERE k.hash = credential AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now());
  IF NOT FOUND THEN
    verdict := 1;
    RETURN;
  END IF;
  needed := minimum + (minimum * markups + 9999) / 10000;
  IF verdict <> 0 THEN RETURN; END IF;

  accounts := ledger_lock_two(wallet_ids, limit_ids);
  -- As in ledger_post: what a person changed meanwhile counts, and is asked for again.
  IF link_ids IS NOT NULL THEN
    SELECT l.limit_id, l.paused_at INTO link FROM linked_user l WHERE l.id = link_ids;
    IF NOT FOUND OR link.paused_at IS NOT NULL OR link.limit_id IS DISTINCT FROM limit_ids THEN
      verdict := 7;
      RETURN;
    END IF;
  END IF;

  amount := least(accounts.wallet_available, accounts.limit_available);
  IF needed > amount THEN
    can_spend := amount;
    verdict := CASE WHEN needed > accounts.wallet_available THEN 5 ELSE 6 END;
    RETURN;
  END IF;
  granted := least(amount, desired + (desired * markups + 9999) / 10000);
  INSERT INTO hold (id, app_id, api_key_id, linked_user_id, external_user_id, billing_mode, wallet_id, limit_id, revenue_id, earnings_id, amount,
    model, expires_at)
  VALUES (hold_id, app_ids, key_ids, link_ids, ext, modes::billing_mode, wallet_ids, limit_ids,
    CASE WHEN modes = 'test' THEN '00000000-0000-7000-8000-000000000005'::uuid ELSE '00000000-0000-7000-8000-000000000002'::uuid END,
    CASE WHEN modes = 'test' THEN '00000000-0000-7000-8000-000000000005'::uuid ELSE earning END,
    granted, model, now() + lifetime * interval '1 millisecond');
  UPDATE account SET available = accounts.wallet_available - granted, held = accounts.wallet_held + granted WHERE id = wallet_ids;
  IF limit_ids IS NOT NULL THEN
    UPDATE account SET available = accounts.limit_available - granted, held = accounts.limit_held + granted WHERE id = limit_ids;
  END IF;
END $$;
