-- Credits for a base cost with a markup in basis points, which is rounded up.
CREATE OR REPLACE FUNCTION "with_markup"(base bigint, markup_bps int) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
  SELECT base + (base * markup_bps + 9999) / 10000
$$;

-- The limit's account from which a hold takes besides the wallet, by an agreement's columns. The agreement keeps the account
-- of a limit that was removed; new holds don't take from it.
CREATE OR REPLACE FUNCTION "limit_in_force"(monthly_limit bigint, limit_id uuid) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN monthly_limit IS NOT NULL THEN limit_id END
$$;

-- The credits that a hold takes: a modest share or an eighth of what is available, whichever is more, and at most what is
-- desired and available.
CREATE OR REPLACE FUNCTION "share_to_hold"(available bigint, desired bigint, needed bigint, modest bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
  SELECT least(available, desired, greatest(needed, modest, available / 8))
$$;

-- The verdict when less is available than needed. The totals are what wallet and limit would have if open holds returned all
-- their credits; the limit's is NULL when there is none.
CREATE OR REPLACE FUNCTION "verdict_of_short"(needed bigint, wallet_total bigint, limit_total bigint) RETURNS hold_verdict LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN needed > wallet_total THEN 'insufficient_credits' WHEN needed > limit_total THEN 'spending_limit_reached'
    ELSE 'credits_on_hold'::hold_verdict END
$$;
