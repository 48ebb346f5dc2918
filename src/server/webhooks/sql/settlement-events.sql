-- Inserts the events of settlements into the outbox. The ledger's functions call this, in their commit and with their
-- planner settings. It reads the subscriptions, so an endpoint that was made before a request settles gets its events.
--
-- balance.low is inserted when one settlement takes a balance from an endpoint's threshold or above to below it. The
-- wallet's lock orders settlements, so each crossing is in exactly one of them and needs no stored state. Every app that
-- the wallet is linked to and that may read its balance gets the event. Ids begin with the time in `batch`, so that
-- events sort by it.
CREATE OR REPLACE FUNCTION "write_settlement_events"(
  ids uuid[], settled settle_verdict[], charged bigint[], balance bigint[], outcome text[], endpoint text[], prompt int[], completion int[], batch uuid)
RETURNS void LANGUAGE plpgsql
AS $$
DECLARE
  lowest bigint; highest bigint;
BEGIN
  IF NOT EXISTS (
    SELECT 1 FROM webhook_endpoint e
    WHERE e.disabled_at IS NULL AND e.events && ARRAY['usage.completed', 'balance.updated', 'balance.low']) THEN RETURN; END IF;
  SELECT min(e.balance_low_threshold), max(e.balance_low_threshold) INTO lowest, highest
  FROM webhook_endpoint e WHERE e.disabled_at IS NULL AND 'balance.low' = ANY (e.events);

  WITH spent AS MATERIALIZED (
    SELECT q.id, q.paid, q.after, q.after + q.paid AS before, q.endpoint, q.prompt, q.completion,
      h.app_id, h.linked_user_id, h.external_user_id, h.model, h.wallet_id, h.billing_mode = 'test' AS sandbox,
      CASE WHEN h.billing_mode = 'test' THEN h.wallet_id ELSE u.id END AS user_id
    FROM unnest(ids, settled, charged, balance, outcome, endpoint, prompt, completion)
      q(id, settled, paid, after, outcome, endpoint, prompt, completion)
    CROSS JOIN LATERAL (
      SELECT h.app_id, h.linked_user_id, h.external_user_id, h.model, h.wallet_id, h.billing_mode FROM hold h WHERE h.id = q.id OFFSET 0) h
    LEFT JOIN LATERAL (SELECT u.id FROM "user" u WHERE u.wallet_id = h.wallet_id OFFSET 0) u ON true
    WHERE q.settled = 'settled' AND q.outcome IN ('completed', 'interrupted')),
  news AS (
    SELECT s.app_id, NULL::uuid AS endpoint_id, s.sandbox, n.type, n.data
    FROM spent s
    CROSS JOIN LATERAL (
      SELECT bool_or('usage.completed' = ANY (e.events)) AS usage, bool_or('balance.updated' = ANY (e.events)) AS balance
      FROM webhook_endpoint e
      WHERE e.app_id = s.app_id AND e.sandbox = s.sandbox
        AND e.disabled_at IS NULL AND e.events && ARRAY['usage.completed', 'balance.updated', 'balance.low'] OFFSET 0) asks
    CROSS JOIN LATERAL (
      SELECT 'usage.completed' AS type,
        jsonb_build_object('user_id', s.user_id, 'external_user_id', s.external_user_id, 'request_id', 'req_' || replace(s.id::text, '-', ''), 'model', s.model,
          'prompt_tokens', s.prompt, 'completion_tokens', s.completion, 'total_tokens', s.prompt::bigint + s.completion, 'credits_used', s.paid) AS data
      WHERE asks.usage
      UNION ALL
      SELECT 'balance.updated',
        jsonb_build_object('user_id', s.user_id, 'external_user_id', s.external_user_id, 'new_balance', s.after, 'amount_spent', s.paid, 'model', s.model,
          'endpoint', s.endpoint)
      -- Only for apps that may read the balance.
      WHERE asks.balance AND s.paid > 0
        AND (s.sandbox OR EXISTS (SELECT 1 FROM linked_user l WHERE l.id = s.linked_user_id AND scope_grants(l.scope, 'credits.read')))) n
    WHERE s.external_user_id IS NOT NULL
    UNION ALL
    SELECT c.app_id, e.id, s.sandbox, 'balance.low',
      jsonb_build_object('user_id', c.user_id, 'external_user_id', c.external_user_id, 'current_balance', s.after, 'threshold', e.balance_low_threshold)
    FROM spent s
    CROSS JOIN LATERAL (
      SELECT l.app_id, l.user_id, l.external_user_id FROM linked_user l
      WHERE NOT s.sandbox AND l.wallet_id = s.wallet_id AND l.paused_at IS NULL AND scope_grants(l.scope, 'credits.read')
      UNION ALL
      SELECT s.app_id, s.wallet_id, s.external_user_id WHERE s.sandbox AND s.external_user_id IS NOT NULL) c
    CROSS JOIN LATERAL (
      SELECT e.id, e.balance_low_threshold FROM webhook_endpoint e
      WHERE e.app_id = c.app_id AND e.sandbox = s.sandbox AND e.disabled_at IS NULL AND 'balance.low' = ANY (e.events)
        AND e.balance_low_threshold > s.after AND e.balance_low_threshold <= s.before OFFSET 0) e
    WHERE s.after < highest AND s.before >= lowest)
  INSERT INTO outbox_event (id, app_id, endpoint_id, sandbox, type, data)
  SELECT overlay(gen_random_uuid()::text PLACING left(batch::text, 15) FROM 1 FOR 15)::uuid, n.app_id, n.endpoint_id, n.sandbox, n.type, n.data FROM news n;
END $$;
