-- An agreement with links has the limit of its links, which their check has kept whole. Without links no limit is in
-- force, and the next link resets the agreement, so half a limit is removed there.
UPDATE "agreement" g SET
  "monthly_limit" = NULL, "limit_period_ends_at" = NULL, "limit_overspent" = 0, "limit_elsewhere" = 0, "limit_elsewhere_holds" = '{}'
WHERE (("monthly_limit" IS NULL) <> ("limit_period_ends_at" IS NULL) OR ("monthly_limit" IS NOT NULL AND "limit_id" IS NULL))
  AND NOT EXISTS (SELECT 1 FROM "linked_user" l WHERE l.user_id = g.user_id AND l.app_id = g.app_id);

-- Blocks neither reads nor writes.
ALTER TABLE "agreement" VALIDATE CONSTRAINT "agreement_limit_whole";
