-- Where an app hears news.
CREATE TABLE "webhook_endpoint" (
    "id" UUID NOT NULL,
    "app_id" UUID NOT NULL,
    "url" TEXT NOT NULL,
    "description" TEXT,
    "events" TEXT[] NOT NULL,
    "sandbox" BOOLEAN NOT NULL DEFAULT false,
    "balance_low_threshold" BIGINT NOT NULL DEFAULT 100000,
    "secret" BYTEA NOT NULL,
    "former_secret" BYTEA,
    "former_secret_until" TIMESTAMPTZ(3),
    "failing_since" TIMESTAMPTZ(3),
    "disabled_at" TIMESTAMPTZ(3),
    "disabled_reason" TEXT,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "webhook_endpoint_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "webhook_endpoint_disabled_check" CHECK (("disabled_at" IS NULL) = ("disabled_reason" IS NULL))
);

CREATE INDEX "webhook_endpoint_app_id_id_idx" ON "webhook_endpoint"("app_id", "id");

-- Who hears of settlements: a settlement looks here first, and mostly finds nobody.
CREATE INDEX "webhook_endpoint_settlements_idx" ON "webhook_endpoint"("app_id")
    WHERE "disabled_at" IS NULL AND "events" && ARRAY['usage.completed', 'balance.updated', 'balance.low'];

-- A settlement asks for the lowest and the highest threshold there is, so that only a
-- balance that falls between them looks any further.
CREATE INDEX "webhook_endpoint_low_idx" ON "webhook_endpoint"("balance_low_threshold")
    WHERE "disabled_at" IS NULL AND 'balance.low' = ANY ("events");

ALTER TABLE "webhook_endpoint" ADD CONSTRAINT "webhook_endpoint_app_id_fkey" FOREIGN KEY ("app_id") REFERENCES "app"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- News may be for one endpoint alone, and is handed on once.
ALTER TABLE "outbox_event" ADD COLUMN "endpoint_id" UUID,
ADD COLUMN "sandbox" BOOLEAN NOT NULL DEFAULT false,
ADD COLUMN "relayed_at" TIMESTAMPTZ(3);

-- What happened before there were endpoints has nobody to go to.
UPDATE "outbox_event" SET "relayed_at" = CURRENT_TIMESTAMP;

CREATE INDEX "outbox_event_waiting_idx" ON "outbox_event"("id") WHERE "relayed_at" IS NULL;

-- One event on its way to one endpoint.
CREATE TABLE "webhook_delivery" (
    "id" UUID NOT NULL,
    "app_id" UUID NOT NULL,
    "endpoint_id" UUID NOT NULL,
    "event_id" UUID NOT NULL,
    "type" TEXT NOT NULL,
    "status" TEXT NOT NULL DEFAULT 'pending',
    "attempts" INTEGER NOT NULL DEFAULT 0,
    "next_attempt_at" TIMESTAMPTZ(3),
    "job_id" UUID,
    "last_response_status" INTEGER,
    "last_error" TEXT,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updated_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "webhook_delivery_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "webhook_delivery_status_check" CHECK ("status" IN ('pending', 'succeeded', 'failed')),
    CONSTRAINT "webhook_delivery_next_check" CHECK (("status" = 'pending') = ("next_attempt_at" IS NOT NULL))
);

CREATE INDEX "webhook_delivery_endpoint_id_id_idx" ON "webhook_delivery"("endpoint_id", "id");
CREATE INDEX "webhook_delivery_event_id_idx" ON "webhook_delivery"("event_id");
CREATE INDEX "webhook_delivery_waiting_idx" ON "webhook_delivery"("id") WHERE "status" = 'pending' AND "job_id" IS NULL;
CREATE INDEX "webhook_delivery_pending_idx" ON "webhook_delivery"("endpoint_id") WHERE "status" = 'pending';

ALTER TABLE "webhook_delivery" ADD CONSTRAINT "webhook_delivery_endpoint_id_fkey" FOREIGN KEY ("endpoint_id") REFERENCES "webhook_endpoint"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- One try to deliver, as it went.
CREATE TABLE "webhook_attempt" (
    "id" UUID NOT NULL,
    "delivery_id" UUID NOT NULL,
    "url" TEXT NOT NULL,
    "request_headers" JSONB NOT NULL,
    "response_status" INTEGER,
    "response_body" TEXT,
    "error" TEXT,
    "started_at" TIMESTAMPTZ(3) NOT NULL,
    "duration_ms" INTEGER NOT NULL,

    CONSTRAINT "webhook_attempt_pkey" PRIMARY KEY ("id")
);

CREATE INDEX "webhook_attempt_delivery_id_id_idx" ON "webhook_attempt"("delivery_id", "id");

ALTER TABLE "webhook_attempt" ADD CONSTRAINT "webhook_attempt_delivery_id_fkey" FOREIGN KEY ("delivery_id") REFERENCES "webhook_delivery"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- Who is linked with a wallet: a balance that falls is news for all of their apps.
CREATE INDEX "linked_user_wallet_id_idx" ON "linked_user"("wallet_id");

-- Writes into the outbox what webhook endpoints ask to hear of settlements, in the
-- commit of ledger_post, which calls it and whose planner settings it has. Who asks is
-- read here: an endpoint that was made before a request settles hears of it.
--
-- A balance is low when one settlement takes it from an endpoint's threshold or above to
-- below. Balances follow one another under the wallet's lock, so each crossing is in
-- exactly one settlement and nothing has to be remembered. It is told to every app that
-- the wallet is linked to and that may see its balance. Ids begin with the time, like `batch`.
CREATE FUNCTION "ledger_tell"(
  ids uuid[], settled int[], charged bigint[], balance bigint[], outcome text[], endpoint text[], prompt int[], completion int[], batch uuid)
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
      h.app_id, h.external_user_id, h.model, h.wallet_id, h.billing_mode = 'test' AS sandbox,
      CASE WHEN h.billing_mode = 'test' THEN h.wallet_id ELSE u.id END AS user_id
    FROM unnest(ids, settled, charged, balance, outcome, endpoint, prompt, completion)
      q(id, settled, paid, after, outcome, endpoint, prompt, completion)
    CROSS JOIN LATERAL (
      SELECT h.app_id, h.external_user_id, h.model, h.wallet_id, h.billing_mode FROM hold h WHERE h.id = q.id OFFSET 0) h
    LEFT JOIN LATERAL (SELECT u.id FROM "user" u WHERE u.wallet_id = h.wallet_id OFFSET 0) u ON true
    WHERE q.settled = 0 AND q.outcome IN ('completed', 'interrupted')),
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
          'prompt_tokens', s.prompt, 'completion_tokens', s.completion, 'total_tokens', s.prompt + s.completion, 'credits_used', s.paid) AS data
      WHERE asks.usage
      UNION ALL
      SELECT 'balance.updated',
        jsonb_build_object('user_id', s.user_id, 'external_user_id', s.external_user_id, 'new_balance', s.after, 'amount_spent', s.paid, 'model', s.model,
          'endpoint', s.endpoint)
      WHERE asks.balance AND s.paid > 0) n
    WHERE s.external_user_id IS NOT NULL
    UNION ALL
    SELECT c.app_id, e.id, s.sandbox, 'balance.low',
      jsonb_build_object('user_id', c.user_id, 'external_user_id', c.external_user_id, 'current_balance', s.after, 'threshold', e.balance_low_threshold)
    FROM spent s
    CROSS JOIN LATERAL (
      SELECT l.app_id, l.user_id, l.external_user_id FROM linked_user l
      WHERE NOT s.sandbox AND l.wallet_id = s.wallet_id AND l.paused_at IS NULL AND l.scope LIKE '%credits.read%'
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

-- One call of the ledger: settlements, then holds, each as if it came alone and in
-- this order, all in one commit. src/server/ledger/hold.ts says what goes in and
-- comes out; every array has one element for each settlement or request.
--
-- A function, because its plans are made once for a connection and each step is a
-- small one; as one large statement it cost more, and five times as much on the
-- embedded database, which plans a statement every time. Every step takes its rows
-- by index, whatever the planner believes about the size of a batch.
CREATE FUNCTION "ledger_post"(
  settle_ids uuid[], settle_base bigint[], settle_markup bigint[], settle_outcome text[], settle_endpoint text[], settle_provider text[],
  settle_prompt int[], settle_cached int[], settle_completion int[], settle_counted text[], settle_streamed bool[], settle_status int[],
  settle_duration int[], batch uuid,
  hold_ids uuid[], hold_credential bytea[], hold_by_token bool[], hold_user text[], hold_desired bigint[], hold_minimum bigint[],
  hold_model text[], hold_lifetime int[],
  OUT settled int[], OUT charged bigint[], OUT balance bigint[],
  OUT verdict int[], OUT granted bigint[], OUT can_spend bigint[], OUT needed bigint[], OUT app_ids uuid[], OUT key_ids uuid[],
  OUT modes text[], OUT markups int[], OUT link_ids uuid[], OUT wallet_ids uuid[], OUT limit_ids uuid[], OUT may_read bool[])
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
  shortfall_account CONSTANT uuid := '00000000-0000-7000-8000-000000000004';
  -- Of each settlement: what its hold says, and how much of the cost that covers.
  from_wallet uuid[]; from_limit uuid[]; was_held bigint[]; paid_base bigint[]; paid_markup bigint[]; entered uuid[];
  -- Of each request: who pays, and where the money will go.
  earning uuid[]; users text[]; desired bigint[]; lock_wallet uuid[]; lock_limit uuid[]; changed int[];
  -- Wallets and limits of the batch, locked, as they are after what was decided so far.
  accounts uuid[]; left_over bigint[]; on_hold bigint[];
  token record; w int; l int; amount bigint;
BEGIN
  IF cardinality(settle_ids) > 0 THEN
    SELECT array_agg(s.wallet_id), array_agg(s.limit_id), array_agg(s.amount), array_agg(least(s.base, s.amount)),
      array_agg(least(s.markup, s.amount - least(s.base, s.amount)))
    INTO from_wallet, from_limit, was_held, paid_base, paid_markup
    FROM (
      SELECT h.wallet_id, h.limit_id, h.amount, q.base, q.markup
      FROM unnest(settle_ids, settle_base, settle_markup) WITH ORDINALITY q(id, base, markup, n)
      LEFT JOIN LATERAL (SELECT h.wallet_id, h.limit_id, h.amount FROM hold h WHERE h.id = q.id OFFSET 0) h ON true
      ORDER BY q.n) s;
  END IF;

  IF cardinality(hold_ids) > 0 THEN
    -- A person pays the markup they agreed to, or less; a later rise needs their consent.
    SELECT array_agg(r.verdict), array_agg(r.app_id), array_agg(r.key_id), array_agg(r.mode), array_agg(r.markup_bps), array_agg(r.earnings_id),
      array_agg(r.link_id), array_agg(r.wallet_id), array_agg(r.limit_id), array_agg(r.may_read),
      array_agg(r.desired + (r.desired * r.markup_bps + 9999) / 10000), array_agg(r.minimum + (r.minimum * r.markup_bps + 9999) / 10000)
    INTO verdict, app_ids, key_ids, modes, markups, earning, link_ids, wallet_ids, limit_ids, may_read, desired, needed
    FROM (
      SELECT k.app_id, k.id AS key_id, a.earnings_id, l.id AS link_id, l.limit_id, q.desired, q.minimum,
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
      FROM unnest(hold_credential, hold_by_token, hold_user, hold_desired, hold_minimum, hold_model)
        WITH ORDINALITY q(hash, by_token, ext, desired, minimum, model, n)
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
      END LOOP;
    END IF;

    lock_wallet := wallet_ids;
    lock_limit := limit_ids;
    FOR i IN 1..cardinality(hold_ids) LOOP
      -- Who is refused for another reason waits for nobody's wallet.
      IF verdict[i] <> 0 THEN
        lock_wallet[i] := NULL;
        lock_limit[i] := NULL;
      END IF;
    END LOOP;
  END IF;

  -- In id order, so that two batches can't wait for each other in a circle; and
  -- before anything is entered, so that two who settle one hold meet here.
  SELECT array_agg(a.id), array_agg(a.available), array_agg(a.held) INTO accounts, left_over, on_hold
  FROM (
    SELECT a.id, a.available, a.held FROM account a WHERE a.id = ANY (from_wallet || from_limit || lock_wallet || lock_limit)
    ORDER BY a.id FOR NO KEY UPDATE OF a) a;

  IF cardinality(settle_ids) > 0 THEN
    -- The usage row's primary key is the hold's: whoever comes second enters nothing.
    WITH entry AS (
      INSERT INTO usage (id, app_id, api_key_id, linked_user_id, external_user_id, billing_mode, wallet_id, limit_id, revenue_id, earnings_id, held,
        base, markup, shortfall, outcome, endpoint, model, provider, prompt_tokens, cached_tokens, completion_tokens, counted_by, streamed,
        upstream_status, duration_ms)
      SELECT h.id, h.app_id, h.api_key_id, h.linked_user_id, h.external_user_id, h.billing_mode, h.wallet_id, h.limit_id, h.revenue_id, h.earnings_id, h.amount,
        q.paid_base, q.paid_markup, q.base - q.paid_base, q.outcome::usage_outcome, q.endpoint, h.model, q.provider, q.prompt, q.cached, q.completion,
        q.counted, q.streamed, q.status, q.duration
      FROM unnest(settle_ids, settle_base, paid_base, paid_markup, settle_outcome, settle_endpoint, settle_provider, settle_prompt, settle_cached,
          settle_completion, settle_counted, settle_streamed, settle_status, settle_duration)
        q(id, base, paid_base, paid_markup, outcome, endpoint, provider, prompt, cached, completion, counted, streamed, status, duration)
      CROSS JOIN LATERAL (SELECT h.* FROM hold h WHERE h.id = q.id OFFSET 0) h
      ON CONFLICT (id) DO NOTHING
      RETURNING id, revenue_id, earnings_id, base, markup, shortfall),
    summed AS (
      INSERT INTO account_delta (batch_id, account_id, amount)
      SELECT batch, x.account_id, sum(x.amount)
      FROM entry e
      CROSS JOIN LATERAL (VALUES (e.revenue_id, e.base + e.shortfall), (e.earnings_id, e.markup), (shortfall_account, -e.shortfall)) x(account_id, amount)
      WHERE x.amount <> 0 GROUP BY x.account_id HAVING sum(x.amount) <> 0)
    SELECT array_agg(e.id) INTO entered FROM entry e;

    FOR i IN 1..cardinality(settle_ids) LOOP
      -- Set in any case: an array begins where something was first put into it.
      charged[i] := NULL;
      balance[i] := NULL;
      IF was_held[i] IS NULL THEN
        settled[i] := 2;
      -- The same settlement twice in one batch counts once.
      ELSIF settle_ids[i] = ANY (entered) AND array_position(settle_ids, settle_ids[i]) = i THEN
        settled[i] := 0;
        charged[i] := paid_base[i] + paid_markup[i];
        w := array_position(accounts, from_wallet[i]);
        on_hold[w] := on_hold[w] - was_held[i];
        left_over[w] := left_over[w] + was_held[i] - charged[i];
        balance[i] := left_over[w] + on_hold[w];
        IF from_limit[i] IS NOT NULL THEN
          l := array_position(accounts, from_limit[i]);
          on_hold[l] := on_hold[l] - was_held[i];
          left_over[l] := left_over[l] + was_held[i] - charged[i];
        END IF;
      ELSE
        settled[i] := 1;
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

    FOR i IN 1..cardinality(hold_ids) LOOP
      granted[i] := NULL;
      can_spend[i] := NULL;
      CONTINUE WHEN verdict[i] <> 0;
      w := array_position(accounts, wallet_ids[i]);
      amount := left_over[w];
      IF limit_ids[i] IS NOT NULL THEN
        l := array_position(accounts, limit_ids[i]);
        amount := least(amount, left_over[l]);
      END IF;
      IF needed[i] > amount THEN
        can_spend[i] := amount;
        verdict[i] := CASE WHEN needed[i] > left_over[w] THEN 5 ELSE 6 END;
        CONTINUE;
      END IF;
      amount := least(amount, desired[i]);
      granted[i] := amount;
      left_over[w] := left_over[w] - amount;
      on_hold[w] := on_hold[w] + amount;
      IF limit_ids[i] IS NOT NULL THEN
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
