-- The rounding rule: credits for a request whose base cost is this, with a markup in hundredths of a percent, rounded up.
CREATE OR REPLACE FUNCTION "with_markup"(base bigint, markup_bps int) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
  SELECT base + (base * markup_bps + 9999) / 10000
$$;

-- The account from which a hold is taken besides the wallet, of an agreement's columns. The agreement keeps the account of a
-- limit that was removed; then nothing is held on it.
CREATE OR REPLACE FUNCTION "limit_in_force"(monthly_limit bigint, limit_id uuid) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN monthly_limit IS NOT NULL THEN limit_id END
$$;

-- What a hold takes: all of what is desired if that is modest, and an eighth of what there is in any case.
CREATE OR REPLACE FUNCTION "share_to_hold"(available bigint, desired bigint, needed bigint, modest bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
  SELECT least(available, desired, greatest(needed, modest, available / 8))
$$;

-- Why there is not as much as needed: what wallet and limit would have, if requests under way gave back all they hold.
-- The limit is NULL where there is none.
CREATE OR REPLACE FUNCTION "verdict_of_short"(needed bigint, wallet_total bigint, limit_total bigint) RETURNS hold_verdict LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN needed > wallet_total THEN 'insufficient_credits' WHEN needed > limit_total THEN 'spending_limit_reached'
    ELSE 'credits_on_hold'::hold_verdict END
$$;
