-- Adds to open holds, in order: `desired`, or what is available of it, but at least `minimum`. Credits, markup included.
-- Idempotent: a growth with an id that was granted before returns the earlier amount. `credits_on_hold` means that other
-- requests hold enough; the hold's own credits don't count, because they are not returned while its stream runs.
CREATE OR REPLACE FUNCTION "grow_holds"(
  grow_ids uuid[], grow_holds uuid[], grow_desired bigint[], grow_minimum bigint[], skip_locked bool,
  OUT verdict growth_verdict[], OUT granted bigint[], OUT locked uuid[])
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
  h record; accounts record; l record; amount bigint; earlier bigint; own bigint; there uuid[];
BEGIN
  -- All accounts in id order first: locking them hold by hold could deadlock with another batch.
  IF cardinality(grow_ids) > 1 AND NOT skip_locked THEN
    SELECT array_agg(q.wallet_id) || array_agg(q.limit_id) INTO there FROM hold q WHERE q.id = ANY (grow_holds);
    PERFORM a.id FROM account a WHERE a.id = ANY (there) ORDER BY a.id FOR NO KEY UPDATE OF a;
  END IF;
  FOR i IN 1..cardinality(grow_ids) LOOP
    verdict[i] := 'resolved';
    granted[i] := NULL;
    locked[i] := NULL;
    SELECT * INTO h FROM hold WHERE id = grow_holds[i];
    CONTINUE WHEN NOT FOUND;
    accounts := ledger_lock_two(h.wallet_id, h.limit_id, skip_locked);
    IF accounts.locked IS NOT NULL THEN
      verdict[i] := 'locked';
      locked[i] := accounts.locked;
      CONTINUE;
    END IF;
    -- Read after the locks that settlements take too, so the hold can't be settled before the commit.
    CONTINUE WHEN EXISTS (SELECT 1 FROM usage u WHERE u.id = h.id);
    SELECT g.amount INTO earlier FROM hold_growth g WHERE g.hold_id = h.id AND g.id = grow_ids[i];
    IF FOUND THEN
      verdict[i] := 'grown';
      granted[i] := earlier;
      CONTINUE;
    END IF;
    IF h.linked_user_id IS NOT NULL THEN
      SELECT limit_in_force(g.monthly_limit, g.limit_id) AS limit_id, u.paused_at, g.limit_period_ends_at INTO l
      FROM linked_user u JOIN agreement g ON g.user_id = u.user_id AND g.app_id = u.app_id WHERE u.id = h.linked_user_id;
      IF NOT FOUND OR l.paused_at IS NOT NULL OR l.limit_id IS DISTINCT FROM h.limit_id THEN
        verdict[i] := 'not_found';
        CONTINUE;
      END IF;
      IF l.limit_period_ends_at <= now() THEN
        verdict[i] := 'limit_due';
        CONTINUE;
      END IF;
    END IF;
    amount := least(accounts.wallet_available, accounts.limit_available);
    IF grow_minimum[i] > amount THEN
      own := h.amount + (SELECT coalesce(sum(g.amount), 0) FROM hold_growth g WHERE g.hold_id = h.id)::bigint;
      verdict[i] := verdict_of_short(grow_minimum[i], accounts.wallet_available + accounts.wallet_held - own,
        accounts.limit_available + accounts.limit_held - own)::text::growth_verdict;
      CONTINUE;
    END IF;
    amount := least(amount, grow_desired[i]);
    INSERT INTO hold_growth (hold_id, id, amount) VALUES (h.id, grow_ids[i], amount);
    UPDATE account SET available = accounts.wallet_available - amount, held = accounts.wallet_held + amount WHERE id = h.wallet_id;
    IF h.limit_id IS NOT NULL THEN
      UPDATE account SET available = accounts.limit_available - amount, held = accounts.limit_held + amount WHERE id = h.limit_id;
    END IF;
    verdict[i] := 'grown';
    granted[i] := amount;
  END LOOP;
END $$;
