-- One monthly limit, and one choice of models, for all links of one person to one
-- app. Where there are several limits the strictest one holds from now on, and what
-- was spent of each this month counts against it. What requests under way hold
-- counts as spent, as it does when a limit is lowered below it.
DO $$
DECLARE
  several record; limits record; models text[]; common text[]; new_id uuid; allowed bigint; former uuid[]; old record;
  allowance CONSTANT uuid := '00000000-0000-7000-8000-000000000006';
BEGIN
  -- Servers of the version before may be running. They lock accounts and then read
  -- links, so whoever has the links must not wait for accounts.
  FOR attempt IN 1..200 LOOP
    BEGIN
      DROP INDEX "linked_user_limit_id_key";
      PERFORM 1 FROM account a
      WHERE a.id IN (SELECT unnest(array_append(l.limit_former_ids, l.limit_id)) FROM linked_user l
        WHERE EXISTS (SELECT 1 FROM linked_user o WHERE o.app_id = l.app_id AND o.user_id = l.user_id AND o.id <> l.id))
      ORDER BY a.id FOR UPDATE NOWAIT;
      EXIT;
    EXCEPTION WHEN lock_not_available THEN
      IF attempt = 200 THEN RAISE; END IF;
      PERFORM pg_sleep(0.05);
    END;
  END LOOP;

  FOR several IN
    SELECT app_id, user_id FROM linked_user GROUP BY app_id, user_id HAVING count(*) > 1 ORDER BY app_id, user_id
  LOOP
    -- What the newest link with a choice allows and all others with one do too; with nothing in common, what it allows.
    SELECT l.allowed_models INTO models FROM linked_user l
    WHERE l.app_id = several.app_id AND l.user_id = several.user_id AND l.allowed_models <> '{}' ORDER BY l.id DESC LIMIT 1;
    IF FOUND THEN
      SELECT coalesce(array_agg(m.model ORDER BY m.n), '{}') INTO common FROM unnest(models) WITH ORDINALITY m(model, n)
      WHERE NOT EXISTS (
        SELECT 1 FROM linked_user l WHERE l.app_id = several.app_id AND l.user_id = several.user_id
          AND l.allowed_models <> '{}' AND m.model <> ALL (l.allowed_models));
      UPDATE linked_user SET allowed_models = CASE WHEN common = '{}' THEN models ELSE common END
      WHERE app_id = several.app_id AND user_id = several.user_id;
    END IF;

    SELECT min(l.monthly_limit) AS monthly, max(l.limit_period_ends_at) AS ends_at,
      -- A month that is over counts no more, but for what is held now.
      coalesce(sum(CASE WHEN l.limit_period_ends_at > now() THEN l.monthly_limit + l.limit_overspent - a.available
        ELSE a.held + (SELECT coalesce(sum(f.held), 0) FROM account f WHERE f.id = ANY (l.limit_former_ids)) END), 0)::bigint AS spent
    INTO limits
    FROM linked_user l JOIN account a ON a.id = l.limit_id WHERE l.app_id = several.app_id AND l.user_id = several.user_id;
    CONTINUE WHEN limits.monthly IS NULL;

    former := '{}';
    FOR old IN
      SELECT a.id, a.available, a.held FROM account a
      WHERE a.id IN (SELECT unnest(array_append(l.limit_former_ids, l.limit_id)) FROM linked_user l
        WHERE l.app_id = several.app_id AND l.user_id = several.user_id)
    LOOP
      IF old.held > 0 THEN former := former || old.id; END IF;
      CONTINUE WHEN old.available = 0;
      WITH entered AS (
        INSERT INTO transfer (id, debit_id, credit_id, amount, reason)
        VALUES ((lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || '7' ||
          substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid, old.id, allowance, old.available, 'allowance') RETURNING id)
      INSERT INTO account_delta (batch_id, account_id, amount) SELECT id, allowance, old.available FROM entered;
      UPDATE account SET available = 0 WHERE id = old.id;
    END LOOP;

    allowed := greatest(limits.monthly - limits.spent, 0);
    new_id := (lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || '7' ||
      substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid;
    INSERT INTO account (id, kind, bounded, available) VALUES (new_id, 'limit', true, allowed);
    IF allowed > 0 THEN
      WITH entered AS (
        INSERT INTO transfer (id, debit_id, credit_id, amount, reason)
        VALUES ((lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || '7' ||
          substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid, allowance, new_id, allowed, 'allowance') RETURNING id)
      INSERT INTO account_delta (batch_id, account_id, amount) SELECT id, allowance, -allowed FROM entered;
    END IF;
    UPDATE linked_user SET limit_id = new_id, monthly_limit = limits.monthly, limit_period_ends_at = limits.ends_at,
      limit_overspent = greatest(limits.spent - limits.monthly, 0), limit_former_ids = former
    WHERE app_id = several.app_id AND user_id = several.user_id;
  END LOOP;
END $$;
