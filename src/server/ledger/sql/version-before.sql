-- For servers of the version before, which may run until they are restarted: the functions that they call, and numbers
-- for verdicts. Servers of the version before that one call wrappers of these, which are in the migrations. The version
-- after this one drops these functions with their numbers, those wrappers with ledger_verdict_of_before, and ledger_tell
-- and ledger_lock_two(uuid, uuid). Only earlier bodies of functions call the last two, and one that is running while its
-- function is replaced still does.
CREATE OR REPLACE FUNCTION "settle_verdict_number"(verdict settle_verdict) RETURNS int LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE verdict WHEN 'settled' THEN 0 WHEN 'already_resolved' THEN 1 WHEN 'unknown_hold' THEN 2 WHEN 'locked' THEN 9 END
$$;
CREATE OR REPLACE FUNCTION "hold_verdict_number"(verdict hold_verdict) RETURNS int LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE verdict WHEN 'held' THEN 0 WHEN 'invalid_api_key' THEN 1 WHEN 'user_required' THEN 2 WHEN 'not_found' THEN 3
    WHEN 'model_not_allowed' THEN 4 WHEN 'insufficient_credits' THEN 5 WHEN 'spending_limit_reached' THEN 6 WHEN 'limit_due' THEN 7
    WHEN 'insufficient_scope' THEN 8 WHEN 'locked' THEN 9 WHEN 'credits_on_hold' THEN 10 END
$$;
CREATE OR REPLACE FUNCTION "growth_verdict_number"(verdict growth_verdict) RETURNS int LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE verdict WHEN 'grown' THEN 0 WHEN 'resolved' THEN 1 WHEN 'not_found' THEN 3 WHEN 'insufficient_credits' THEN 5
    WHEN 'spending_limit_reached' THEN 6 WHEN 'limit_due' THEN 7 WHEN 'locked' THEN 9 WHEN 'credits_on_hold' THEN 10 END
$$;
CREATE OR REPLACE FUNCTION "ledger_post"(
  settle_ids uuid[], settle_base bigint[], settle_markup bigint[], settle_outcome text[], settle_endpoint text[], settle_provider text[],
  settle_prompt int[], settle_cached int[], settle_completion int[], settle_counted text[], settle_streamed bool[], settle_status int[],
  settle_duration int[], batch uuid,
  hold_ids uuid[], hold_credential bytea[], hold_by_token bool[], hold_user text[], hold_desired bigint[], hold_minimum bigint[],
  hold_model text[], hold_lifetime int[], hold_modest bigint[], hold_waits bool[], skip_locked bool,
  OUT settled int[], OUT charged bigint[], OUT balance bigint[],
  OUT verdict int[], OUT granted bigint[], OUT can_spend bigint[], OUT needed bigint[], OUT app_ids uuid[], OUT key_ids uuid[],
  OUT modes text[], OUT markups int[], OUT link_ids uuid[], OUT wallet_ids uuid[], OUT limit_ids uuid[], OUT may_read bool[],
  OUT released bigint[], OUT locked uuid[], OUT settle_locked uuid[])
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  n record;
BEGIN
  SELECT * INTO n FROM post_batch(settle_ids, settle_base, settle_markup, settle_outcome, settle_endpoint, settle_provider, settle_prompt,
    settle_cached, settle_completion, settle_counted, settle_streamed, settle_status, settle_duration, batch, hold_ids, hold_credential,
    hold_by_token, hold_user, hold_desired, hold_minimum, hold_model, hold_lifetime, hold_modest, hold_waits, skip_locked);
  settled := ARRAY(SELECT settle_verdict_number(v.word) FROM unnest(n.settled) WITH ORDINALITY v(word, n) ORDER BY v.n);
  charged := n.charged; balance := n.balance;
  verdict := ARRAY(SELECT hold_verdict_number(v.word) FROM unnest(n.verdict) WITH ORDINALITY v(word, n) ORDER BY v.n);
  granted := n.granted; can_spend := n.can_spend; needed := n.needed; app_ids := n.app_ids; key_ids := n.key_ids; modes := n.modes::text[];
  markups := n.markups; link_ids := n.link_ids; wallet_ids := n.wallet_ids; limit_ids := n.limit_ids; may_read := n.may_read;
  released := n.released; locked := n.locked; settle_locked := n.settle_locked;
END $$;
CREATE OR REPLACE FUNCTION "ledger_settle_one"(
  settle_id uuid, base bigint, markup bigint, outcome text, endpoint text, provider text, prompt int, cached int, completion int, counted text,
  streamed bool, status int, duration int, batch uuid, skip_locked bool,
  OUT settled int, OUT charged bigint, OUT balance bigint, OUT settle_locked uuid)
LANGUAGE sql AS $$
  SELECT settle_verdict_number(n.settled), n.charged, n.balance, n.settle_locked
  FROM settle_hold(settle_id, base, markup, outcome, endpoint, provider, prompt, cached, completion, counted, streamed, status, duration, batch,
    skip_locked) n
$$;
CREATE OR REPLACE FUNCTION "ledger_hold_one"(
  hold_id uuid, credential bytea, ext text, desired bigint, minimum bigint, model text, lifetime int, modest bigint, waits bool, skip_locked bool,
  OUT verdict int, OUT granted bigint, OUT can_spend bigint, OUT needed bigint, OUT app_ids uuid, OUT key_ids uuid, OUT modes text,
  OUT markups int, OUT link_ids uuid, OUT wallet_ids uuid, OUT limit_ids uuid, OUT may_read bool, OUT released bigint, OUT locked uuid)
LANGUAGE sql AS $$
  SELECT hold_verdict_number(n.verdict), n.granted, n.can_spend, n.needed, n.app_ids, n.key_ids, n.modes::text, n.markups, n.link_ids,
    n.wallet_ids, n.limit_ids, n.may_read, n.released, n.locked
  FROM reserve_hold(hold_id, credential, false, ext, desired, minimum, model, lifetime, modest, waits, skip_locked) n
$$;
CREATE OR REPLACE FUNCTION "ledger_grow"(
  grow_ids uuid[], grow_holds uuid[], grow_desired bigint[], grow_minimum bigint[], skip_locked bool,
  OUT verdict int[], OUT granted bigint[], OUT locked uuid[])
LANGUAGE sql AS $$
  SELECT ARRAY(SELECT growth_verdict_number(v.word) FROM unnest(n.verdict) WITH ORDINALITY v(word, n) ORDER BY v.n), n.granted, n.locked
  FROM grow_holds(grow_ids, grow_holds, grow_desired, grow_minimum, skip_locked) n
$$;
