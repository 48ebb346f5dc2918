-- What a person agreed to with an app. It is kept when their links end, so that
-- whoever connects again finds the account of the limit and what is held on it.
CREATE TABLE "agreement" (
  "user_id" UUID NOT NULL,
  "app_id" UUID NOT NULL,
  "monthly_limit" BIGINT,
  "limit_id" UUID,
  "limit_former_ids" UUID[] NOT NULL DEFAULT '{}',
  "limit_elsewhere" BIGINT NOT NULL DEFAULT 0,
  "limit_elsewhere_holds" UUID[] NOT NULL DEFAULT '{}',
  "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

  CONSTRAINT "agreement_pkey" PRIMARY KEY ("user_id", "app_id")
);
ALTER TABLE "agreement" ADD CONSTRAINT "agreement_not_negative" CHECK ("monthly_limit" >= 0 AND "limit_elsewhere" >= 0);

-- Servers of the version before make links without one; it is made when it is first needed.
-- What a limit counts for requests that hold elsewhere is not divided up, so that it is counted anew when it is reached.
INSERT INTO "agreement" ("user_id", "app_id", "monthly_limit", "limit_id", "limit_former_ids", "limit_elsewhere")
SELECT DISTINCT ON (user_id, app_id) user_id, app_id, monthly_limit, limit_id, limit_former_ids, limit_held_elsewhere
FROM linked_user ORDER BY user_id, app_id, id;

ALTER TABLE "agreement" ADD CONSTRAINT "agreement_user_id_fkey" FOREIGN KEY ("user_id") REFERENCES "user"("id") ON DELETE RESTRICT ON UPDATE CASCADE;
ALTER TABLE "agreement" ADD CONSTRAINT "agreement_app_id_fkey" FOREIGN KEY ("app_id") REFERENCES "app"("id") ON DELETE RESTRICT ON UPDATE CASCADE;
