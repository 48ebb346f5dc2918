-- A batch: settlements and then holds, in one commit, each as if it had come alone and in this order. hold.ts describes
-- parameters and results; every array has one element for each settlement or request. The verdict `locked`, only with
-- skip_locked, means that another session has the account locked and nothing was done for this element.
--
-- A function, because its statements are then planned once for each connection. The settings make every statement find
-- its rows by index, also when the planner's estimate of a batch's size is wrong.
CREATE OR REPLACE FUNCTION "post_batch"(
  settle_ids uuid[], settle_base bigint[], settle_markup bigint[], settle_outcome text[], settle_endpoint text[], settle_provider text[],
  settle_prompt int[], settle_cached int[], settle_completion int[], settle_counted text[], settle_streamed bool[], settle_status int[],
  settle_duration int[], batch uuid,
  hold_ids uuid[], hold_credential bytea[], hold_by_token bool[], hold_user text[], hold_desired bigint[], hold_minimum bigint[],
  hold_model text[], hold_lifetime int[], hold_modest bigint[], hold_waits bool[], skip_locked bool,
  OUT settled settle_verdict[], OUT charged bigint[], OUT balance bigint[],
  OUT verdict hold_verdict[], OUT granted bigint[], OUT can_spend bigint[], OUT needed bigint[], OUT app_ids uuid[], OUT key_ids uuid[],
  OUT modes billing_mode[], OUT markups int[], OUT link_ids uuid[], OUT wallet_ids uuid[], OUT limit_ids uuid[], OUT may_read bool[],
  OUT released bigint[], OUT locked uuid[], OUT settle_locked uuid[])
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
  shortfall_account CONSTANT uuid := '00000000-0000-7000-8000-000000000004';
  -- For each settlement: the accounts of its hold.
  from_wallet uuid[]; from_limit uuid[];
  -- For each inserted usage row: its id, the hold with all growth, and what the payer paid.
  entered uuid[]; was_held bigint[]; paid bigint[]; place int; missing uuid;
  -- For each request: earnings account, user, amounts with markup, accounts to lock. `changed`: indexes of requests whose link changed.
  earning uuid[]; users text[]; desired bigint[]; modest bigint[]; lock_wallet uuid[]; lock_limit uuid[]; changed int[];
  -- The locked wallets and limits of the batch, with `available` and `held` after the elements decided so far.
  accounts uuid[]; left_over bigint[]; on_hold bigint[];
  w int; l int; amount bigint; wallet_total bigint; limit_total bigint;
BEGIN
  IF cardinality(settle_ids) > 0 THEN
    SELECT array_agg(s.wallet_id), array_agg(s.limit_id)
    INTO from_wallet, from_limit
    FROM (
      SELECT h.wallet_id, h.limit_id
      FROM unnest(settle_ids) WITH ORDINALITY q(id, n)
      LEFT JOIN LATERAL (SELECT h.wallet_id, h.limit_id FROM hold h WHERE h.id = q.id OFFSET 0) h ON true
      ORDER BY q.n) s;
  END IF;

  IF cardinality(hold_ids) > 0 THEN
    -- payer_of would start the look-ups of tokens too, 20 µs for each batch, so a batch without tokens has a statement of its own.
    IF true = ANY (hold_by_token) THEN
      SELECT array_agg(coalesce(r.verdict, 'invalid_api_key')), array_agg(r.app_id), array_agg(r.key_id), array_agg(r.mode), array_agg(r.markup_bps),
        array_agg(r.earnings_id), array_agg(r.external_user_id), array_agg(r.link_id), array_agg(r.wallet_id), array_agg(r.limit_id), array_agg(r.may_read),
        array_agg(with_markup(r.desired, r.markup_bps)), array_agg(with_markup(r.minimum, r.markup_bps)), array_agg(with_markup(r.modest, r.markup_bps))
      INTO verdict, app_ids, key_ids, modes, markups, earning, users, link_ids, wallet_ids, limit_ids, may_read, desired, needed, modest
      FROM (
        SELECT p.*, q.desired, q.minimum, q.modest
        FROM unnest(hold_credential, hold_by_token, hold_user, hold_desired, hold_minimum, hold_modest, hold_model)
          WITH ORDINALITY q(credential, by_token, named, desired, minimum, modest, model, n)
        LEFT JOIN LATERAL payer_of(q.credential, q.by_token, q.named, q.model) p ON true
        ORDER BY q.n) r;
    ELSE
      SELECT array_agg(coalesce(r.verdict, 'invalid_api_key')), array_agg(r.app_id), array_agg(r.key_id), array_agg(r.mode), array_agg(r.markup_bps),
        array_agg(r.earnings_id), array_agg(r.external_user_id), array_agg(r.link_id), array_agg(r.wallet_id), array_agg(r.limit_id), array_agg(r.may_read),
        array_agg(with_markup(r.desired, r.markup_bps)), array_agg(with_markup(r.minimum, r.markup_bps)), array_agg(with_markup(r.modest, r.markup_bps))
      INTO verdict, app_ids, key_ids, modes, markups, earning, users, link_ids, wallet_ids, limit_ids, may_read, desired, needed, modest
      FROM (
        SELECT p.*, q.desired, q.minimum, q.modest
        FROM unnest(hold_credential, hold_user, hold_desired, hold_minimum, hold_modest, hold_model)
          WITH ORDINALITY q(credential, named, desired, minimum, modest, model, n)
        LEFT JOIN LATERAL payer_of_key(q.credential, q.named, q.model) p ON true
        ORDER BY q.n) r;
    END IF;

    lock_wallet := wallet_ids;
    lock_limit := limit_ids;
    IF 'held' <> ANY (verdict) THEN
      FOR i IN 1..cardinality(hold_ids) LOOP
        -- A request that is refused needs no lock.
        IF verdict[i] <> 'held' THEN
          lock_wallet[i] := NULL;
          lock_limit[i] := NULL;
        END IF;
      END LOOP;
    END IF;
  END IF;

  -- In id order, so that two batches can't deadlock; and before anything is inserted, so that
  -- two settlements of one hold are serialized here.
  IF skip_locked THEN
    SELECT array_agg(a.id), array_agg(a.available), array_agg(a.held) INTO accounts, left_over, on_hold
    FROM (
      SELECT a.id, a.available, a.held FROM account a WHERE a.id = ANY (from_wallet || from_limit || lock_wallet || lock_limit)
      ORDER BY a.id FOR NO KEY UPDATE OF a SKIP LOCKED) a;
  ELSE
    SELECT array_agg(a.id), array_agg(a.available), array_agg(a.held) INTO accounts, left_over, on_hold
    FROM (
      SELECT a.id, a.available, a.held FROM account a WHERE a.id = ANY (from_wallet || from_limit || lock_wallet || lock_limit)
      ORDER BY a.id FOR NO KEY UPDATE OF a) a;
  END IF;

  IF cardinality(settle_ids) > 0 THEN
    -- The usage row's primary key is the hold's id, so a second settlement inserts nothing. Growth is read
    -- after the locks that grow_holds takes too, so it is complete.
    WITH grown AS MATERIALIZED (
      SELECT g.hold_id, sum(g.amount)::bigint AS amount FROM hold_growth g WHERE g.hold_id = ANY (settle_ids) GROUP BY g.hold_id),
    entry AS (
      INSERT INTO usage (id, app_id, api_key_id, linked_user_id, external_user_id, billing_mode, wallet_id, limit_id, revenue_id, earnings_id, held,
        base, markup, shortfall, outcome, endpoint, model, provider, prompt_tokens, cached_tokens, completion_tokens, counted_by, streamed,
        upstream_status, duration_ms)
      SELECT h.id, h.app_id, h.api_key_id, h.linked_user_id, h.external_user_id, h.billing_mode, h.wallet_id, h.limit_id, h.revenue_id, h.earnings_id, g.held,
        least(q.base, g.held), least(q.markup, g.held - least(q.base, g.held)), q.base - least(q.base, g.held), q.outcome::usage_outcome, q.endpoint,
        h.model, q.provider, q.prompt, q.cached, q.completion, q.counted, q.streamed, q.status, q.duration
      FROM unnest(settle_ids, settle_base, settle_markup, settle_outcome, settle_endpoint, settle_provider, settle_prompt, settle_cached,
          settle_completion, settle_counted, settle_streamed, settle_status, settle_duration)
        q(id, base, markup, outcome, endpoint, provider, prompt, cached, completion, counted, streamed, status, duration)
      CROSS JOIN LATERAL (SELECT h.* FROM hold h WHERE h.id = q.id OFFSET 0) h
      LEFT JOIN grown ON grown.hold_id = h.id
      CROSS JOIN LATERAL (SELECT h.amount + coalesce(grown.amount, 0) AS held) g
      -- With SKIP LOCKED, without those whose accounts another session has locked.
      WHERE h.wallet_id = ANY (accounts) AND (h.limit_id IS NULL OR h.limit_id = ANY (accounts))
      ON CONFLICT (id) DO NOTHING
      RETURNING id, revenue_id, earnings_id, held, base, markup, shortfall),
    summed AS (
      INSERT INTO account_delta (batch_id, account_id, amount)
      SELECT batch, x.account_id, sum(x.amount)
      FROM entry e
      CROSS JOIN LATERAL (VALUES (e.revenue_id, e.base + e.shortfall), (e.earnings_id, e.markup), (shortfall_account, -e.shortfall)) x(account_id, amount)
      WHERE x.amount <> 0 GROUP BY x.account_id HAVING sum(x.amount) <> 0)
    SELECT array_agg(e.id), array_agg(e.held), array_agg(e.base + e.markup) INTO entered, was_held, paid FROM entry e;

    settled := array_fill('already_resolved'::settle_verdict, ARRAY[cardinality(settle_ids)]);
    charged := array_fill(NULL::bigint, ARRAY[cardinality(settle_ids)]);
    balance := charged;
    FOR i IN 1..cardinality(settle_ids) LOOP
      place := array_position(entered, settle_ids[i]);
      IF place IS NOT NULL THEN
        -- The same settlement twice in one batch counts once.
        CONTINUE WHEN paid[place] IS NULL;
        settled[i] := 'settled';
        amount := paid[place];
        paid[place] := NULL;
        charged[i] := amount;
        w := array_position(accounts, from_wallet[i]);
        on_hold[w] := on_hold[w] - was_held[place];
        left_over[w] := left_over[w] + was_held[place] - amount;
        balance[i] := left_over[w] + on_hold[w];
        IF from_limit[i] IS NOT NULL THEN
          l := array_position(accounts, from_limit[i]);
          on_hold[l] := on_hold[l] - was_held[place];
          left_over[l] := left_over[l] + was_held[place] - amount;
        END IF;
      ELSIF from_wallet[i] IS NULL THEN
        settled[i] := 'unknown_hold';
      ELSE
        missing := CASE WHEN NOT coalesce(from_wallet[i] = ANY (accounts), false) THEN from_wallet[i]
          WHEN NOT coalesce(from_limit[i] = ANY (accounts), false) THEN from_limit[i] END;
        CONTINUE WHEN missing IS NULL;
        settle_locked := coalesce(settle_locked, array_fill(NULL::uuid, ARRAY[cardinality(settle_ids)]));
        settle_locked[i] := missing;
        -- Without SKIP LOCKED every existing account is in `accounts`.
        IF NOT skip_locked OR NOT EXISTS (SELECT 1 FROM account a WHERE a.id = missing) THEN
          RAISE EXCEPTION 'account % of hold % does not exist', missing, settle_ids[i] USING ERRCODE = 'null_value_not_allowed';
        END IF;
        settled[i] := 'locked';
      END IF;
    END LOOP;
    PERFORM write_settlement_events(settle_ids, settled, charged, balance, settle_outcome, settle_endpoint, settle_prompt, settle_completion, batch);
  END IF;

  IF cardinality(hold_ids) > 0 THEN
    -- While the batch waited for the locks a link may have ended or been paused, or its limit may have
    -- got another account. Setting or filling a limit locks the wallet first, so from here on its account
    -- stays the same. The ledger repeats these requests.
    SELECT array_agg(q.n) INTO changed
    FROM unnest(link_ids, limit_ids, verdict) WITH ORDINALITY q(link_id, limit_id, verdict, n)
    LEFT JOIN LATERAL (
      SELECT l.id, l.paused_at, limit_in_force(g.monthly_limit, g.limit_id) AS limit_id
      FROM linked_user l JOIN agreement g ON g.user_id = l.user_id AND g.app_id = l.app_id WHERE l.id = q.link_id OFFSET 0) l ON true
    WHERE q.verdict = 'held' AND q.link_id IS NOT NULL AND (l.id IS NULL OR l.paused_at IS NOT NULL OR l.limit_id IS DISTINCT FROM q.limit_id);
    FOREACH w IN ARRAY coalesce(changed, '{}') LOOP
      verdict[w] := 'limit_due';
    END LOOP;

    -- can_spend, released and locked stay NULL unless a request needs them: most batches are granted whole.
    granted := array_fill(NULL::bigint, ARRAY[cardinality(hold_ids)]);
    FOR i IN 1..cardinality(hold_ids) LOOP
      CONTINUE WHEN verdict[i] <> 'held';
      w := array_position(accounts, wallet_ids[i]);
      l := CASE WHEN limit_ids[i] IS NOT NULL THEN array_position(accounts, limit_ids[i]) END;
      IF w IS NULL OR (limit_ids[i] IS NOT NULL AND l IS NULL) THEN
        locked := coalesce(locked, array_fill(NULL::uuid, ARRAY[cardinality(hold_ids)]));
        locked[i] := CASE WHEN w IS NULL THEN wallet_ids[i] ELSE limit_ids[i] END;
        IF NOT skip_locked OR NOT EXISTS (SELECT 1 FROM account a WHERE a.id = locked[i]) THEN
          RAISE EXCEPTION 'account % does not exist', locked[i] USING ERRCODE = 'null_value_not_allowed';
        END IF;
        verdict[i] := 'locked';
        CONTINUE;
      END IF;
      amount := CASE WHEN l IS NULL THEN left_over[w] ELSE least(left_over[w], left_over[l]) END;
      -- Otherwise there is enough.
      IF amount < desired[i] THEN
        wallet_total := left_over[w] + on_hold[w];
        limit_total := CASE WHEN l IS NOT NULL THEN left_over[l] + on_hold[l] END;
        -- With `waits` a request is refused rather than given less than its share, while other holds have the rest.
        IF needed[i] > amount OR (hold_waits[i] AND amount < least(modest[i], desired[i], wallet_total, limit_total)) THEN
          can_spend := coalesce(can_spend, array_fill(NULL::bigint, ARRAY[cardinality(hold_ids)]));
          released := coalesce(released, can_spend);
          can_spend[i] := amount;
          released[i] := least(wallet_total, limit_total);
          verdict[i] := verdict_of_short(needed[i], wallet_total, limit_total);
          CONTINUE;
        END IF;
      END IF;
      amount := share_to_hold(amount, desired[i], needed[i], modest[i]);
      granted[i] := amount;
      left_over[w] := left_over[w] - amount;
      on_hold[w] := on_hold[w] + amount;
      IF l IS NOT NULL THEN
        left_over[l] := left_over[l] - amount;
        on_hold[l] := on_hold[l] + amount;
      END IF;
    END LOOP;
    INSERT INTO hold (id, app_id, api_key_id, linked_user_id, external_user_id, billing_mode, wallet_id, limit_id, revenue_id, earnings_id, amount, model, expires_at)
    SELECT q.id, q.app_id, q.key_id, q.link_id, q.ext, q.mode, q.wallet_id, q.limit_id,
      CASE WHEN q.mode = 'test' THEN '00000000-0000-7000-8000-000000000005'::uuid ELSE '00000000-0000-7000-8000-000000000002'::uuid END,
      CASE WHEN q.mode = 'test' THEN '00000000-0000-7000-8000-000000000005'::uuid ELSE q.earnings_id END,
      q.granted, q.model, now() + q.lifetime * interval '1 millisecond'
    FROM unnest(hold_ids, app_ids, key_ids, link_ids, users, modes, wallet_ids, limit_ids, earning, granted, hold_model, hold_lifetime)
      q(id, app_id, key_id, link_id, ext, mode, wallet_id, limit_id, earnings_id, granted, model, lifetime)
    WHERE q.granted IS NOT NULL;
  END IF;

  -- Absolute values from the locked rows: Postgres would check `available - x` against
  -- the row as it was before the lock.
  UPDATE account a SET available = x.available, held = x.held
  FROM unnest(accounts, left_over, on_hold) x(id, available, held)
  WHERE a.id = x.id AND (a.available, a.held) IS DISTINCT FROM (x.available, x.held);
END $$;
