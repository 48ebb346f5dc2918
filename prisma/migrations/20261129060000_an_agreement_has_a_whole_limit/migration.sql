-- A limit in force has an account and a month. Links have had this check from the start; in an agreement the account
-- stays when the limit is removed. NOT VALID, so that the table is locked for no longer than a change of the catalogue:
-- the next migration, a transaction of its own, looks at the rows that are there.
ALTER TABLE "agreement" ADD CONSTRAINT "agreement_limit_whole" CHECK (
  ("monthly_limit" IS NULL) = ("limit_period_ends_at" IS NULL) AND ("monthly_limit" IS NULL OR "limit_id" IS NOT NULL)
) NOT VALID;
