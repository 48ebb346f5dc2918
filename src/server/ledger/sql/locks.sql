-- Locks a wallet and a limit, in id order as post_batch does, and returns their balances. With skip_locked it waits for no
-- lock: `locked` is the account that another session has locked.
CREATE OR REPLACE FUNCTION "ledger_lock_two"(wallet uuid, "limit" uuid, skip_locked bool,
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
  -- least() ignores NULL, so without this check a missing account would count as no limit.
  IF wallet_available IS NULL OR ("limit" IS NOT NULL AND limit_available IS NULL) THEN
    RAISE EXCEPTION 'wallet % or limit % is no account', wallet, "limit" USING ERRCODE = 'null_value_not_allowed';
  END IF;
END $$;
