-- A batch of one settlement: the decisions of post_batch, without arrays. Under little load most batches have one element,
-- and post_batch takes half as long again.
CREATE OR REPLACE FUNCTION "settle_hold"(
  settle_id uuid, base bigint, markup bigint, outcome text, endpoint text, provider text, prompt int, cached int, completion int, counted text,
  streamed bool, status int, duration int, batch uuid, skip_locked bool,
  OUT settled settle_verdict, OUT charged bigint, OUT balance bigint, OUT settle_locked uuid)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
  shortfall_account CONSTANT uuid := '00000000-0000-7000-8000-000000000004';
  h hold; accounts record; was_held bigint; paid_base bigint; paid_markup bigint;
BEGIN
  SELECT * INTO h FROM hold WHERE id = settle_id;
  IF NOT FOUND THEN
    settled := 'unknown_hold';
    RETURN;
  END IF;
  accounts := ledger_lock_two(h.wallet_id, h.limit_id, skip_locked);
  IF accounts.locked IS NOT NULL THEN
    settled := 'locked';
    settle_locked := accounts.locked;
    RETURN;
  END IF;
  -- Growth is read after the locks that grow_holds takes too, so it is complete.
  INSERT INTO usage AS u (id, app_id, api_key_id, linked_user_id, external_user_id, billing_mode, wallet_id, limit_id, revenue_id, earnings_id, held,
    base, markup, shortfall, outcome, endpoint, model, provider, prompt_tokens, cached_tokens, completion_tokens, counted_by, streamed,
    upstream_status, duration_ms)
  SELECT h.id, h.app_id, h.api_key_id, h.linked_user_id, h.external_user_id, h.billing_mode, h.wallet_id, h.limit_id, h.revenue_id, h.earnings_id,
    g.held, least(base, g.held), least(markup, g.held - least(base, g.held)), base - least(base, g.held), outcome::usage_outcome, endpoint,
    h.model, provider, prompt, cached, completion, counted, streamed, status, duration
  FROM (SELECT h.amount + coalesce(sum(g.amount), 0)::bigint AS held FROM hold_growth g WHERE g.hold_id = settle_id) g
  ON CONFLICT (id) DO NOTHING
  RETURNING u.held, u.base, u.markup INTO was_held, paid_base, paid_markup;
  IF NOT FOUND THEN
    settled := 'already_resolved';
    RETURN;
  END IF;
  settled := 'settled';
  charged := paid_base + paid_markup;
  -- In the sandbox revenue and earnings are one account.
  IF h.revenue_id = h.earnings_id THEN
    IF base + paid_markup > 0 THEN INSERT INTO account_delta (batch_id, account_id, amount) VALUES (batch, h.revenue_id, base + paid_markup); END IF;
  ELSE
    IF base > 0 THEN INSERT INTO account_delta (batch_id, account_id, amount) VALUES (batch, h.revenue_id, base); END IF;
    IF paid_markup > 0 THEN INSERT INTO account_delta (batch_id, account_id, amount) VALUES (batch, h.earnings_id, paid_markup); END IF;
  END IF;
  IF base > paid_base THEN
    INSERT INTO account_delta (batch_id, account_id, amount) VALUES (batch, shortfall_account, paid_base - base);
  END IF;
  UPDATE account SET available = accounts.wallet_available + was_held - charged, held = accounts.wallet_held - was_held WHERE id = h.wallet_id;
  balance := accounts.wallet_available + accounts.wallet_held - charged;
  IF h.limit_id IS NOT NULL THEN
    UPDATE account SET available = accounts.limit_available + was_held - charged, held = accounts.limit_held - was_held WHERE id = h.limit_id;
  END IF;
  PERFORM write_settlement_events(ARRAY[settle_id], ARRAY[settled], ARRAY[charged], ARRAY[balance], ARRAY[outcome], ARRAY[endpoint], ARRAY[prompt],
    ARRAY[completion], batch);
END $$;
