-- What an app took from a person in a month is read from the books whenever a limit is
-- filled. A limit that forgot some of it, because it was lifted and set again or its link
-- ended and came back, has more left than its month: that is taken back here. What it
-- shows as spent grows by as much.
ALTER TABLE "linked_user" ADD COLUMN "limit_held_elsewhere" BIGINT NOT NULL DEFAULT 0;
-- Accounts that a limit gave up, by which the version before knew of such requests.
UPDATE "linked_user" SET "limit_held_elsewhere" = 1 WHERE "limit_former_ids" <> '{}';

DO $$
DECLARE
  surplus record; there bigint; new_id uuid;
  allowance CONSTANT uuid := '00000000-0000-7000-8000-000000000006';
BEGIN
  FOR surplus IN
    WITH monthly AS (
      SELECT app_id, wallet_id, sum(base + markup)::bigint AS spent FROM usage
      WHERE billing_mode = 'user' AND created_at >= date_trunc('month', now(), 'UTC') GROUP BY 1, 2),
    underway AS (
      SELECT h.app_id, h.wallet_id, sum(h.amount)::bigint AS held FROM hold h
      WHERE h.billing_mode = 'user'
        AND h.id >= (lpad(to_hex((extract(epoch FROM now() - interval '1 day') * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
        AND NOT EXISTS (SELECT 1 FROM usage u WHERE u.id = h.id) GROUP BY 1, 2)
    SELECT DISTINCT l.limit_id AS id, a.available - greatest(l.monthly_limit - coalesce(m.spent, 0) - coalesce(u.held, 0), 0) AS amount
    FROM linked_user l JOIN account a ON a.id = l.limit_id
    LEFT JOIN monthly m ON m.app_id = l.app_id AND m.wallet_id = l.wallet_id
    LEFT JOIN underway u ON u.app_id = l.app_id AND u.wallet_id = l.wallet_id
    WHERE l.limit_period_ends_at > now() AND a.available > greatest(l.monthly_limit - coalesce(m.spent, 0) - coalesce(u.held, 0), 0)
    ORDER BY 1
  LOOP
    -- Servers of the version before may be running: nothing but this account is locked, and what is there counts.
    SELECT a.available INTO there FROM account a WHERE a.id = surplus.id FOR NO KEY UPDATE;
    there := least(there, surplus.amount);
    CONTINUE WHEN there <= 0;
    new_id := (lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || '7' ||
      substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid;
    INSERT INTO transfer (id, debit_id, credit_id, amount, reason) VALUES (new_id, surplus.id, allowance, there, 'allowance');
    INSERT INTO account_delta (batch_id, account_id, amount) VALUES (new_id, allowance, there);
    UPDATE account SET available = available - there WHERE id = surplus.id;
  END LOOP;
END $$;
