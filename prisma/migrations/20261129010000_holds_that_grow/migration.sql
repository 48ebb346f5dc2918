-- A request whose output limit is not its own reserves a share of what there is, and
-- a stream reserves more while it runs: what it adds to its hold is a row of its own,
-- because holds are never changed.
CREATE TABLE "hold_growth" (
  "hold_id" UUID NOT NULL,
  "id" UUID NOT NULL,
  "amount" BIGINT NOT NULL,
  "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

  CONSTRAINT "hold_growth_pkey" PRIMARY KEY ("hold_id", "id")
);
ALTER TABLE "hold_growth" ADD CONSTRAINT "hold_growth_amount_positive" CHECK ("amount" > 0);
CREATE TRIGGER "hold_growth_insert_only" BEFORE UPDATE OR DELETE OR TRUNCATE ON "hold_growth"
  FOR EACH STATEMENT EXECUTE FUNCTION "refuse_rewriting_history"();

-- Locks a wallet and a limit, in id order as ledger_post does, and says what they have.
-- With skip_locked it waits for nobody: `locked` names the account that somebody else has.
CREATE FUNCTION "ledger_lock_two"(wallet uuid, "limit" uuid, skip_locked bool,
  OUT wallet_available bigint, OUT wallet_held bigint, OUT limit_available bigint, OUT limit_held bigint, OUT locked uuid)
LANGUAGE plpgsql AS $$
BEGIN
  IF skip_locked THEN
    IF "limit" < wallet THEN
      SELECT a.available, a.held INTO limit_available, limit_held FROM account a WHERE a.id = "limit" FOR NO KEY UPDATE OF a SKIP LOCKED;
    END IF;
    SELECT a.available, a.held INTO wallet_available, wallet_held FROM account a WHERE a.id = wallet FOR NO KEY UPDATE OF a SKIP LOCKED;
    IF "limit" > wallet THEN
      SELECT a.available, a.held INTO limit_available, limit_held FROM account a WHERE a.id = "limit" FOR NO KEY UPDATE OF a SKIP LOCKED;
    END IF;
    locked := CASE WHEN wallet_available IS NULL THEN wallet WHEN limit_available IS NULL THEN "limit" END;
    IF locked IS NULL OR EXISTS (SELECT 1 FROM account a WHERE a.id = locked) THEN RETURN; END IF;
    RAISE EXCEPTION 'account % does not exist', locked USING ERRCODE = 'null_value_not_allowed';
  END IF;
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

-- Settlements and then holds, in one commit, as if they had come one after the other.
-- settled: 0 settled, 1 resolved before, 2 no such hold, 9 an account is locked elsewhere.
-- verdict: 0 held; 1 to 8 see hold.ts; 9 an account is locked elsewhere; 10 what requests
-- under way hold would be enough. 9 comes with skip_locked only, and nothing was done.
CREATE FUNCTION "ledger_post"(
  settle_ids uuid[], settle_base bigint[], settle_markup bigint[], settle_outcome text[], settle_endpoint text[], settle_provider text[],
  settle_prompt int[], settle_cached int[], settle_completion int[], settle_counted text[], settle_streamed bool[], settle_status int[],
  settle_duration int[], batch uuid,
  hold_ids uuid[], hold_credential bytea[], hold_by_token bool[], hold_user text[], hold_desired bigint[], hold_minimum bigint[],
  hold_model text[], hold_lifetime int[], hold_modest bigint[], hold_waits bool[], skip_locked bool,
  OUT settled int[], OUT charged bigint[], OUT balance bigint[],
  OUT verdict int[], OUT granted bigint[], OUT can_spend bigint[], OUT needed bigint[], OUT app_ids uuid[], OUT key_ids uuid[],
  OUT modes text[], OUT markups int[], OUT link_ids uuid[], OUT wallet_ids uuid[], OUT limit_ids uuid[], OUT may_read bool[],
  OUT released bigint[], OUT locked uuid[], OUT settle_locked uuid[])
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
  shortfall_account CONSTANT uuid := '00000000-0000-7000-8000-000000000004';
  -- Of each settlement: what its hold says, and how much of the cost that covers.
  from_wallet uuid[]; from_limit uuid[];
  -- What was entered: whose settlement, what its hold had grown to, what the payer paid.
  entered uuid[]; was_held bigint[]; paid bigint[]; place int; missing uuid;
  -- Of each request: who pays, and where the money will go.
  earning uuid[]; users text[]; desired bigint[]; modest bigint[]; lock_wallet uuid[]; lock_limit uuid[]; changed int[];
  -- Wallets and limits of the batch, locked, as they are after what was decided so far.
  accounts uuid[]; left_over bigint[]; on_hold bigint[];
  token record; w int; l int; amount bigint; wallet_total bigint; limit_total bigint;
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
    -- A person pays the markup they agreed to, or less; a later rise needs their consent.
    SELECT array_agg(r.verdict), array_agg(r.app_id), array_agg(r.key_id), array_agg(r.mode), array_agg(r.markup_bps), array_agg(r.earnings_id),
      array_agg(r.link_id), array_agg(r.wallet_id), array_agg(r.limit_id), array_agg(r.may_read),
      array_agg(r.desired + (r.desired * r.markup_bps + 9999) / 10000), array_agg(r.minimum + (r.minimum * r.markup_bps + 9999) / 10000),
      array_agg(r.modest + (r.modest * r.markup_bps + 9999) / 10000)
    INTO verdict, app_ids, key_ids, modes, markups, earning, link_ids, wallet_ids, limit_ids, may_read, desired, needed, modest
    FROM (
      SELECT k.app_id, k.id AS key_id, a.earnings_id, l.id AS link_id, l.limit_id, q.desired, q.minimum, q.modest,
        l.id IS NULL OR l.scope LIKE '%credits.read%' AS may_read,
        least(a.markup_bps, l.agreed_markup_bps) AS markup_bps,
        CASE WHEN k.billing_mode <> 'test' AND q.ext IS NOT NULL THEN 'user' ELSE k.billing_mode::text END AS mode,
        CASE WHEN k.billing_mode = 'test' THEN a.sandbox_wallet_id WHEN q.ext IS NULL THEN o.wallet_id ELSE l.wallet_id END AS wallet_id,
        CASE WHEN k.id IS NULL THEN 1
          WHEN k.billing_mode = 'user' AND q.ext IS NULL THEN 2
          WHEN k.billing_mode = 'test' THEN CASE
            WHEN q.ext = 'sandbox_missing' THEN 3
            WHEN a.allowed_models <> '{}' AND q.model <> ALL (a.allowed_models) THEN 4
            WHEN q.ext = 'sandbox_empty' THEN 5 ELSE 0 END
          WHEN q.ext IS NOT NULL AND l.id IS NULL THEN 3
          WHEN a.allowed_models <> '{}' AND q.model <> ALL (a.allowed_models) THEN 4
          WHEN l.allowed_models <> '{}' AND q.model <> ALL (l.allowed_models) THEN 4
          WHEN l.limit_period_ends_at <= now() THEN 7
          ELSE 0 END AS verdict
      FROM unnest(hold_credential, hold_by_token, hold_user, hold_desired, hold_minimum, hold_modest, hold_model)
        WITH ORDINALITY q(hash, by_token, ext, desired, minimum, modest, model, n)
      LEFT JOIN LATERAL (
        SELECT k.id, k.app_id, k.billing_mode FROM api_key k
        WHERE k.hash = q.hash AND NOT q.by_token AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now()) OFFSET 0) k ON true
      LEFT JOIN LATERAL (
        SELECT a.owner_id, a.markup_bps, a.allowed_models, a.earnings_id, a.sandbox_wallet_id FROM app a WHERE a.id = k.app_id OFFSET 0) a ON true
      LEFT JOIN LATERAL (SELECT u.wallet_id FROM "user" u WHERE u.id = a.owner_id AND q.ext IS NULL OFFSET 0) o ON true
      LEFT JOIN LATERAL (
        SELECT l.id, l.wallet_id, l.limit_id, l.limit_period_ends_at, l.allowed_models, l.agreed_markup_bps, l.scope FROM linked_user l
        WHERE l.app_id = k.app_id AND l.external_user_id = q.ext AND l.paused_at IS NULL AND l.scope LIKE '%credits.spend%'
          AND k.billing_mode <> 'test' OFFSET 0) l ON true
      ORDER BY q.n) r;
    users := hold_user;

    -- A token is good for as long as its grant is there, and the grant for as long as
    -- the link. Both say what may be done: the token what the app asked for, the link
    -- what the person agreed to last.
    IF true = ANY (hold_by_token) THEN
      FOR token IN
        SELECT q.n, l.app_id, l.external_user_id, least(a.markup_bps, l.agreed_markup_bps) AS markup_bps, a.earnings_id, l.id AS link_id,
          l.wallet_id, l.limit_id,
          coalesce('credits.read' = ANY (string_to_array(t.scope, ' ')) AND 'credits.read' = ANY (string_to_array(l.scope, ' ')), false) AS may_read,
          CASE WHEN g.id IS NULL THEN 1
            WHEN 'credits.spend' <> ALL (string_to_array(coalesce(t.scope, ''), ' ')) THEN 8
            WHEN l.id IS NULL THEN 1
            WHEN 'credits.spend' <> ALL (string_to_array(l.scope, ' ')) THEN 8
            WHEN l.paused_at IS NOT NULL THEN 3
            WHEN a.allowed_models <> '{}' AND q.model <> ALL (a.allowed_models) THEN 4
            WHEN l.allowed_models <> '{}' AND q.model <> ALL (l.allowed_models) THEN 4
            WHEN l.limit_period_ends_at <= now() THEN 7
            ELSE 0 END AS verdict
        FROM unnest(hold_credential, hold_by_token, hold_model) WITH ORDINALITY q(hash, by_token, model, n)
        LEFT JOIN LATERAL (
          SELECT r.grant_id, r.payload->>'scope' AS scope FROM oauth_record r
          WHERE r.kind = 'AccessToken' AND r.id_hash = q.hash AND r.expires_at > now() OFFSET 0) t ON true
        LEFT JOIN LATERAL (
          SELECT r.grant_id AS id, r.linked_user_id FROM oauth_record r
          WHERE r.grant_id = t.grant_id AND r.kind = 'Grant' AND r.expires_at > now() OFFSET 0) g ON true
        LEFT JOIN LATERAL (SELECT l.* FROM linked_user l WHERE l.id = g.linked_user_id OFFSET 0) l ON true
        LEFT JOIN LATERAL (SELECT a.markup_bps, a.allowed_models, a.earnings_id FROM app a WHERE a.id = l.app_id OFFSET 0) a ON true
        WHERE q.by_token
      LOOP
        verdict[token.n] := token.verdict;
        app_ids[token.n] := token.app_id;
        users[token.n] := token.external_user_id;
        modes[token.n] := 'user';
        markups[token.n] := token.markup_bps;
        earning[token.n] := token.earnings_id;
        link_ids[token.n] := token.link_id;
        wallet_ids[token.n] := token.wallet_id;
        limit_ids[token.n] := token.limit_id;
        may_read[token.n] := token.may_read;
        desired[token.n] := hold_desired[token.n] + (hold_desired[token.n] * token.markup_bps + 9999) / 10000;
        needed[token.n] := hold_minimum[token.n] + (hold_minimum[token.n] * token.markup_bps + 9999) / 10000;
        modest[token.n] := hold_modest[token.n] + (hold_modest[token.n] * token.markup_bps + 9999) / 10000;
      END LOOP;
    END IF;

    lock_wallet := wallet_ids;
    lock_limit := limit_ids;
    IF 0 <> ANY (verdict) THEN
      FOR i IN 1..cardinality(hold_ids) LOOP
        -- Who is refused for another reason waits for nobody's wallet.
        IF verdict[i] <> 0 THEN
          lock_wallet[i] := NULL;
          lock_limit[i] := NULL;
        END IF;
      END LOOP;
    END IF;
  END IF;

  -- In id order, so that two batches can't wait for each other in a circle; and
  -- before anything is entered, so that two who settle one hold meet here.
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
    -- The usage row's primary key is the hold's: whoever comes second enters nothing. Growth is
    -- read here, after the locks under which holds grow: what was added until then is all there will be.
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
      -- With SKIP LOCKED some may be locked elsewhere.
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

    settled := array_fill(1, ARRAY[cardinality(settle_ids)]);
    charged := array_fill(NULL::bigint, ARRAY[cardinality(settle_ids)]);
    balance := charged;
    FOR i IN 1..cardinality(settle_ids) LOOP
      place := array_position(entered, settle_ids[i]);
      IF place IS NOT NULL THEN
        -- The same settlement twice in one batch counts once.
        CONTINUE WHEN paid[place] IS NULL;
        settled[i] := 0;
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
        settled[i] := 2;
      ELSE
        missing := CASE WHEN NOT coalesce(from_wallet[i] = ANY (accounts), false) THEN from_wallet[i]
          WHEN NOT coalesce(from_limit[i] = ANY (accounts), false) THEN from_limit[i] END;
        CONTINUE WHEN missing IS NULL;
        settle_locked := coalesce(settle_locked, array_fill(NULL::uuid, ARRAY[cardinality(settle_ids)]));
        settle_locked[i] := missing;
        -- Without SKIP LOCKED all that exist are there.
        IF NOT skip_locked OR NOT EXISTS (SELECT 1 FROM account a WHERE a.id = missing) THEN
          RAISE EXCEPTION 'account % of hold % does not exist', missing, settle_ids[i] USING ERRCODE = 'null_value_not_allowed';
        END IF;
        settled[i] := 9;
      END IF;
    END LOOP;
    PERFORM "ledger_tell"(settle_ids, settled, charged, balance, settle_outcome, settle_endpoint, settle_prompt, settle_completion, batch);
  END IF;

  IF cardinality(hold_ids) > 0 THEN
    -- What a person changed while the batch waited for the accounts counts: a link that
    -- is gone or paused, another limit. Who changes a limit locks its account first, so
    -- that from here on nothing does. Those requests are asked for again.
    SELECT array_agg(q.n) INTO changed
    FROM unnest(link_ids, limit_ids, verdict) WITH ORDINALITY q(link_id, limit_id, verdict, n)
    LEFT JOIN LATERAL (SELECT l.id, l.limit_id, l.paused_at FROM linked_user l WHERE l.id = q.link_id OFFSET 0) l ON true
    WHERE q.verdict = 0 AND q.link_id IS NOT NULL AND (l.id IS NULL OR l.paused_at IS NOT NULL OR l.limit_id IS DISTINCT FROM q.limit_id);
    FOREACH w IN ARRAY coalesce(changed, '{}') LOOP
      verdict[w] := 7;
    END LOOP;

    -- The others stay NULL as long as they have nothing to say: most batches are granted whole.
    granted := array_fill(NULL::bigint, ARRAY[cardinality(hold_ids)]);
    FOR i IN 1..cardinality(hold_ids) LOOP
      CONTINUE WHEN verdict[i] <> 0;
      w := array_position(accounts, wallet_ids[i]);
      l := CASE WHEN limit_ids[i] IS NOT NULL THEN array_position(accounts, limit_ids[i]) END;
      IF w IS NULL OR (limit_ids[i] IS NOT NULL AND l IS NULL) THEN
        locked := coalesce(locked, array_fill(NULL::uuid, ARRAY[cardinality(hold_ids)]));
        locked[i] := CASE WHEN w IS NULL THEN wallet_ids[i] ELSE limit_ids[i] END;
        IF NOT skip_locked OR NOT EXISTS (SELECT 1 FROM account a WHERE a.id = locked[i]) THEN
          RAISE EXCEPTION 'account % does not exist', locked[i] USING ERRCODE = 'null_value_not_allowed';
        END IF;
        verdict[i] := 9;
        CONTINUE;
      END IF;
      amount := CASE WHEN l IS NULL THEN left_over[w] ELSE least(left_over[w], left_over[l]) END;
      -- Else there is enough in any case.
      IF amount < desired[i] THEN
        wallet_total := left_over[w] + on_hold[w];
        limit_total := CASE WHEN l IS NOT NULL THEN left_over[l] + on_hold[l] END;
        -- What requests under way hold may come back; until then a small share is refused to who would rather wait.
        IF needed[i] > amount OR (hold_waits[i] AND amount < least(modest[i], desired[i], wallet_total, limit_total)) THEN
          can_spend := coalesce(can_spend, array_fill(NULL::bigint, ARRAY[cardinality(hold_ids)]));
          released := coalesce(released, can_spend);
          can_spend[i] := amount;
          released[i] := least(wallet_total, limit_total);
          verdict[i] := CASE WHEN needed[i] > wallet_total THEN 5 WHEN needed[i] > limit_total THEN 6 ELSE 10 END;
          CONTINUE;
        END IF;
      END IF;
      -- All of what is desired if that is modest, and an eighth of what there is in any case.
      amount := least(amount, desired[i], greatest(needed[i], modest[i], amount / 8));
      granted[i] := amount;
      left_over[w] := left_over[w] - amount;
      on_hold[w] := on_hold[w] + amount;
      IF l IS NOT NULL THEN
        left_over[l] := left_over[l] - amount;
        on_hold[l] := on_hold[l] + amount;
      END IF;
    END LOOP;
    INSERT INTO hold (id, app_id, api_key_id, linked_user_id, external_user_id, billing_mode, wallet_id, limit_id, revenue_id, earnings_id, amount, model, expires_at)
    SELECT q.id, q.app_id, q.key_id, q.link_id, q.ext, q.mode::billing_mode, q.wallet_id, q.limit_id,
      CASE WHEN q.mode = 'test' THEN '00000000-0000-7000-8000-000000000005'::uuid ELSE '00000000-0000-7000-8000-000000000002'::uuid END,
      CASE WHEN q.mode = 'test' THEN '00000000-0000-7000-8000-000000000005'::uuid ELSE q.earnings_id END,
      q.granted, q.model, now() + q.lifetime * interval '1 millisecond'
    FROM unnest(hold_ids, app_ids, key_ids, link_ids, users, modes, wallet_ids, limit_ids, earning, granted, hold_model, hold_lifetime)
      q(id, app_id, key_id, link_id, ext, mode, wallet_id, limit_id, earnings_id, granted, model, lifetime)
    WHERE q.granted IS NOT NULL;
  END IF;

  -- Absolute values from the locked rows: `available - x` would be checked against
  -- the row as it was before the lock.
  UPDATE account a SET available = x.available, held = x.held
  FROM unnest(accounts, left_over, on_hold) x(id, available, held)
  WHERE a.id = x.id AND (a.available, a.held) IS DISTINCT FROM (x.available, x.held);
END $$;

CREATE FUNCTION "ledger_settle_one"(
  settle_id uuid, base bigint, markup bigint, outcome text, endpoint text, provider text, prompt int, cached int, completion int, counted text,
  streamed bool, status int, duration int, batch uuid, skip_locked bool,
  OUT settled int, OUT charged bigint, OUT balance bigint, OUT settle_locked uuid)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
  shortfall_account CONSTANT uuid := '00000000-0000-7000-8000-000000000004';
  h hold; accounts record; was_held bigint; paid_base bigint; paid_markup bigint;
BEGIN
  SELECT * INTO h FROM hold WHERE id = settle_id;
  IF NOT FOUND THEN
    settled := 2;
    RETURN;
  END IF;
  accounts := ledger_lock_two(h.wallet_id, h.limit_id, skip_locked);
  IF accounts.locked IS NOT NULL THEN
    settled := 9;
    settle_locked := accounts.locked;
    RETURN;
  END IF;
  -- Growth is read after the lock under which holds grow: what was added until then is all there will be.
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
  UPDATE account SET available = accounts.wallet_available + was_held - charged, held = accounts.wallet_held - was_held WHERE id = h.wallet_id;
  balance := accounts.wallet_available + accounts.wallet_held - charged;
  IF h.limit_id IS NOT NULL THEN
    UPDATE account SET available = accounts.limit_available + was_held - charged, held = accounts.limit_held - was_held WHERE id = h.limit_id;
  END IF;
  PERFORM "ledger_tell"(ARRAY[settle_id], ARRAY[settled], ARRAY[charged], ARRAY[balance], ARRAY[outcome], ARRAY[endpoint], ARRAY[prompt],
    ARRAY[completion], batch);
END $$;

-- For API keys; a token's request always goes by ledger_post.
CREATE FUNCTION "ledger_hold_one"(
  hold_id uuid, credential bytea, ext text, desired bigint, minimum bigint, model text, lifetime int, modest bigint, waits bool,
  skip_locked bool,
  OUT verdict int, OUT granted bigint, OUT can_spend bigint, OUT needed bigint, OUT app_ids uuid, OUT key_ids uuid, OUT modes text,
  OUT markups int, OUT link_ids uuid, OUT wallet_ids uuid, OUT limit_ids uuid, OUT may_read bool,
  OUT released bigint, OUT locked uuid)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
  earning uuid; accounts record; link record; amount bigint; wallet_total bigint; limit_total bigint;
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

  accounts := ledger_lock_two(wallet_ids, limit_ids, skip_locked);
  IF accounts.locked IS NOT NULL THEN
    verdict := 9;
    locked := accounts.locked;
    RETURN;
  END IF;
  -- As in ledger_post: what a person changed meanwhile counts, and is asked for again.
  IF link_ids IS NOT NULL THEN
    SELECT l.limit_id, l.paused_at INTO link FROM linked_user l WHERE l.id = link_ids;
    IF NOT FOUND OR link.paused_at IS NOT NULL OR link.limit_id IS DISTINCT FROM limit_ids THEN
      verdict := 7;
      RETURN;
    END IF;
  END IF;

  amount := least(accounts.wallet_available, accounts.limit_available);
  wallet_total := accounts.wallet_available + accounts.wallet_held;
  limit_total := accounts.limit_available + accounts.limit_held;
  desired := desired + (desired * markups + 9999) / 10000;
  modest := modest + (modest * markups + 9999) / 10000;
  IF needed > amount OR (waits AND amount < least(modest, desired, wallet_total, limit_total)) THEN
    can_spend := amount;
    released := least(wallet_total, limit_total);
    verdict := CASE WHEN needed > wallet_total THEN 5 WHEN needed > limit_total THEN 6 ELSE 10 END;
    RETURN;
  END IF;
  granted := least(amount, desired, greatest(needed, modest, amount / 8));
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

-- Reserves more for holds that are open, in order; all of `desired` or as much of it as
-- there is, but no less than `minimum`. Credits, markup included. verdict: 0 granted, or
-- granted before under the same id; 1 there is no such open hold; 3 the link is gone or
-- paused, or its limit is another one by now; 5 the wallet and 6 the limit is used up;
-- 7 the limit's month is over; 9 an account is locked elsewhere (with skip_locked only);
-- 10 what requests under way hold would be enough.
CREATE FUNCTION "ledger_grow"(
  grow_ids uuid[], grow_holds uuid[], grow_desired bigint[], grow_minimum bigint[], skip_locked bool,
  OUT verdict int[], OUT granted bigint[], OUT locked uuid[])
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
  h record; accounts record; l record; amount bigint; earlier bigint; there uuid[];
BEGIN
  -- In id order first, because more than two are locked here.
  IF cardinality(grow_ids) > 1 AND NOT skip_locked THEN
    SELECT array_agg(q.wallet_id) || array_agg(q.limit_id) INTO there FROM hold q WHERE q.id = ANY (grow_holds);
    PERFORM a.id FROM account a WHERE a.id = ANY (there) ORDER BY a.id FOR NO KEY UPDATE OF a;
  END IF;
  FOR i IN 1..cardinality(grow_ids) LOOP
    verdict[i] := 1;
    granted[i] := NULL;
    locked[i] := NULL;
    SELECT * INTO h FROM hold WHERE id = grow_holds[i];
    CONTINUE WHEN NOT FOUND;
    accounts := ledger_lock_two(h.wallet_id, h.limit_id, skip_locked);
    IF accounts.locked IS NOT NULL THEN
      verdict[i] := 9;
      locked[i] := accounts.locked;
      CONTINUE;
    END IF;
    -- Under the lock, as settlements are: whoever resolves the hold comes before or after.
    CONTINUE WHEN EXISTS (SELECT 1 FROM usage u WHERE u.id = h.id);
    SELECT g.amount INTO earlier FROM hold_growth g WHERE g.hold_id = h.id AND g.id = grow_ids[i];
    IF FOUND THEN
      verdict[i] := 0;
      granted[i] := earlier;
      CONTINUE;
    END IF;
    IF h.linked_user_id IS NOT NULL THEN
      SELECT u.limit_id, u.paused_at, u.limit_period_ends_at INTO l FROM linked_user u WHERE u.id = h.linked_user_id;
      IF NOT FOUND OR l.paused_at IS NOT NULL OR l.limit_id IS DISTINCT FROM h.limit_id THEN
        verdict[i] := 3;
        CONTINUE;
      END IF;
      IF l.limit_period_ends_at <= now() THEN
        verdict[i] := 7;
        CONTINUE;
      END IF;
    END IF;
    amount := least(accounts.wallet_available, accounts.limit_available);
    IF grow_minimum[i] > amount THEN
      verdict[i] := CASE WHEN grow_minimum[i] > accounts.wallet_available + accounts.wallet_held THEN 5
        WHEN grow_minimum[i] > accounts.limit_available + accounts.limit_held THEN 6 ELSE 10 END;
      CONTINUE;
    END IF;
    amount := least(amount, grow_desired[i]);
    INSERT INTO hold_growth (hold_id, id, amount) VALUES (h.id, grow_ids[i], amount);
    UPDATE account SET available = accounts.wallet_available - amount, held = accounts.wallet_held + amount WHERE id = h.wallet_id;
    IF h.limit_id IS NOT NULL THEN
      UPDATE account SET available = accounts.limit_available - amount, held = accounts.limit_held + amount WHERE id = h.limit_id;
    END IF;
    verdict[i] := 0;
    granted[i] := amount;
  END LOOP;
END $$;

-- Servers of the version before go on with these until they are restarted. They know
-- neither shares nor waiting, and for them a wallet or limit whose credits are on hold has
-- none. Which of the two it is, the wallet says as the batch has left it.
CREATE FUNCTION "ledger_verdict_of_before"(verdict int, needed bigint, wallet uuid) RETURNS int
LANGUAGE plpgsql AS $$
BEGIN
  IF verdict NOT IN (6, 10) THEN RETURN verdict; END IF;
  RETURN CASE WHEN needed > (SELECT a.available FROM account a WHERE a.id = wallet) THEN 5 ELSE 6 END;
END $$;
CREATE OR REPLACE FUNCTION "ledger_post"(
  settle_ids uuid[], settle_base bigint[], settle_markup bigint[], settle_outcome text[], settle_endpoint text[], settle_provider text[],
  settle_prompt int[], settle_cached int[], settle_completion int[], settle_counted text[], settle_streamed bool[], settle_status int[],
  settle_duration int[], batch uuid,
  hold_ids uuid[], hold_credential bytea[], hold_by_token bool[], hold_user text[], hold_desired bigint[], hold_minimum bigint[],
  hold_model text[], hold_lifetime int[],
  OUT settled int[], OUT charged bigint[], OUT balance bigint[],
  OUT verdict int[], OUT granted bigint[], OUT can_spend bigint[], OUT needed bigint[], OUT app_ids uuid[], OUT key_ids uuid[],
  OUT modes text[], OUT markups int[], OUT link_ids uuid[], OUT wallet_ids uuid[], OUT limit_ids uuid[], OUT may_read bool[])
LANGUAGE sql AS $$
  SELECT n.settled, n.charged, n.balance,
    (SELECT array_agg(ledger_verdict_of_before(q.verdict, q.needed, q.wallet_id) ORDER BY q.n)
      FROM unnest(n.verdict, n.needed, n.wallet_ids) WITH ORDINALITY q(verdict, needed, wallet_id, n)),
    n.granted, n.can_spend, n.needed, n.app_ids, n.key_ids, n.modes, n.markups, n.link_ids, n.wallet_ids, n.limit_ids, n.may_read
  FROM ledger_post(settle_ids, settle_base, settle_markup, settle_outcome, settle_endpoint, settle_provider, settle_prompt, settle_cached,
    settle_completion, settle_counted, settle_streamed, settle_status, settle_duration, batch, hold_ids, hold_credential, hold_by_token, hold_user,
    hold_desired, hold_minimum, hold_model, hold_lifetime, hold_desired, array_fill(false, ARRAY[cardinality(hold_ids)]), false) n
$$;
CREATE OR REPLACE FUNCTION "ledger_settle_one"(
  settle_id uuid, base bigint, markup bigint, outcome text, endpoint text, provider text, prompt int, cached int, completion int, counted text,
  streamed bool, status int, duration int, batch uuid,
  OUT settled int, OUT charged bigint, OUT balance bigint)
LANGUAGE sql AS $$
  SELECT n.settled, n.charged, n.balance
  FROM ledger_settle_one(settle_id, base, markup, outcome, endpoint, provider, prompt, cached, completion, counted, streamed, status, duration, batch, false) n
$$;
CREATE OR REPLACE FUNCTION "ledger_hold_one"(
  hold_id uuid, credential bytea, ext text, desired bigint, minimum bigint, model text, lifetime int,
  OUT verdict int, OUT granted bigint, OUT can_spend bigint, OUT needed bigint, OUT app_ids uuid, OUT key_ids uuid, OUT modes text,
  OUT markups int, OUT link_ids uuid, OUT wallet_ids uuid, OUT limit_ids uuid, OUT may_read bool)
LANGUAGE sql AS $$
  SELECT ledger_verdict_of_before(n.verdict, n.needed, n.wallet_ids), n.granted, n.can_spend, n.needed, n.app_ids, n.key_ids, n.modes, n.markups, n.link_ids,
    n.wallet_ids, n.limit_ids, n.may_read
  FROM ledger_hold_one(hold_id, credential, ext, desired, minimum, model, lifetime, desired, false, false) n
$$;
