-- CreateSchema
CREATE SCHEMA IF NOT EXISTS "public";

-- CreateEnum
CREATE TYPE "billing_mode" AS ENUM ('developer', 'user', 'test');

-- CreateEnum
CREATE TYPE "account_kind" AS ENUM ('wallet', 'limit', 'sandbox_wallet', 'earnings', 'platform');

-- CreateEnum
CREATE TYPE "usage_outcome" AS ENUM ('completed', 'interrupted', 'failed', 'swept');

-- CreateEnum
CREATE TYPE "transfer_reason" AS ENUM ('top_up', 'grant', 'funding', 'allowance', 'refund', 'correction', 'payout');

-- CreateTable
CREATE TABLE "user" (
    "id" UUID NOT NULL,
    "email" TEXT NOT NULL,
    "name" TEXT,
    "password_hash" TEXT,
    "wallet_id" UUID NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "user_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "app" (
    "id" UUID NOT NULL,
    "owner_id" UUID NOT NULL,
    "name" TEXT NOT NULL,
    "site_url" TEXT,
    "logo_url" TEXT,
    "markup_bps" INTEGER NOT NULL DEFAULT 0,
    "allowed_models" TEXT[] DEFAULT ARRAY[]::TEXT[],
    "earnings_id" UUID NOT NULL,
    "sandbox_wallet_id" UUID NOT NULL,
    "client_id" TEXT NOT NULL,
    "client_secret_hash" BYTEA NOT NULL,
    "client_secret_fragment" TEXT NOT NULL,
    "redirect_uris" TEXT[] DEFAULT ARRAY[]::TEXT[],
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "app_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "api_key" (
    "id" UUID NOT NULL,
    "app_id" UUID NOT NULL,
    "name" TEXT NOT NULL,
    "hash" BYTEA NOT NULL,
    "fragment" TEXT NOT NULL,
    "billing_mode" "billing_mode" NOT NULL DEFAULT 'developer',
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "expires_at" TIMESTAMPTZ(3),
    "revoked_at" TIMESTAMPTZ(3),

    CONSTRAINT "api_key_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "linked_user" (
    "id" UUID NOT NULL,
    "app_id" UUID NOT NULL,
    "user_id" UUID NOT NULL,
    "wallet_id" UUID NOT NULL,
    "external_user_id" TEXT NOT NULL,
    "agreed_markup_bps" INTEGER NOT NULL,
    "scope" TEXT NOT NULL DEFAULT 'credits.read credits.spend',
    "limit_id" UUID,
    "monthly_limit" BIGINT,
    "limit_period_ends_at" TIMESTAMPTZ(3),
    "limit_overspent" BIGINT NOT NULL DEFAULT 0,
    "limit_former_ids" UUID[] DEFAULT ARRAY[]::UUID[],
    "allowed_models" TEXT[] DEFAULT ARRAY[]::TEXT[],
    "paused_at" TIMESTAMPTZ(3),
    "linked_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "linked_user_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "account" (
    "id" UUID NOT NULL,
    "kind" "account_kind" NOT NULL,
    "bounded" BOOLEAN NOT NULL,
    "available" BIGINT NOT NULL DEFAULT 0,
    "held" BIGINT NOT NULL DEFAULT 0,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "account_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "hold" (
    "id" UUID NOT NULL,
    "app_id" UUID NOT NULL,
    "api_key_id" UUID NOT NULL,
    "linked_user_id" UUID,
    "external_user_id" TEXT,
    "billing_mode" "billing_mode" NOT NULL,
    "wallet_id" UUID NOT NULL,
    "limit_id" UUID,
    "revenue_id" UUID NOT NULL,
    "earnings_id" UUID NOT NULL,
    "amount" BIGINT NOT NULL,
    "model" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "expires_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "hold_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "usage" (
    "id" UUID NOT NULL,
    "app_id" UUID NOT NULL,
    "api_key_id" UUID NOT NULL,
    "linked_user_id" UUID,
    "external_user_id" TEXT,
    "billing_mode" "billing_mode" NOT NULL,
    "wallet_id" UUID NOT NULL,
    "limit_id" UUID,
    "revenue_id" UUID NOT NULL,
    "earnings_id" UUID NOT NULL,
    "held" BIGINT NOT NULL,
    "base" BIGINT NOT NULL,
    "markup" BIGINT NOT NULL,
    "shortfall" BIGINT NOT NULL DEFAULT 0,
    "outcome" "usage_outcome" NOT NULL,
    "endpoint" TEXT NOT NULL,
    "model" TEXT NOT NULL,
    "provider" TEXT,
    "prompt_tokens" INTEGER NOT NULL DEFAULT 0,
    "cached_tokens" INTEGER NOT NULL DEFAULT 0,
    "completion_tokens" INTEGER NOT NULL DEFAULT 0,
    "counted_by" TEXT,
    "streamed" BOOLEAN NOT NULL DEFAULT false,
    "upstream_status" INTEGER,
    "duration_ms" INTEGER NOT NULL DEFAULT 0,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "usage_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "transfer" (
    "id" UUID NOT NULL,
    "debit_id" UUID NOT NULL,
    "credit_id" UUID NOT NULL,
    "amount" BIGINT NOT NULL,
    "reason" "transfer_reason" NOT NULL,
    "description" TEXT,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "transfer_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "account_delta" (
    "batch_id" UUID NOT NULL,
    "account_id" UUID NOT NULL,
    "amount" BIGINT NOT NULL,

    CONSTRAINT "account_delta_pkey" PRIMARY KEY ("account_id","batch_id")
);

-- CreateTable
CREATE TABLE "outbox_event" (
    "id" UUID NOT NULL,
    "app_id" UUID NOT NULL,
    "type" TEXT NOT NULL,
    "data" JSONB NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "outbox_event_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "idempotency_record" (
    "app_id" UUID NOT NULL,
    "key" TEXT NOT NULL,
    "request_hash" BYTEA NOT NULL,
    "status" INTEGER,
    "headers" JSONB,
    "body" BYTEA,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "expires_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "idempotency_record_pkey" PRIMARY KEY ("app_id","key")
);

-- CreateTable
CREATE TABLE "setting" (
    "key" TEXT NOT NULL,
    "value" JSONB NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "setting_pkey" PRIMARY KEY ("key")
);

-- CreateIndex
CREATE UNIQUE INDEX "user_email_key" ON "user"("email");

-- CreateIndex
CREATE UNIQUE INDEX "user_wallet_id_key" ON "user"("wallet_id");

-- CreateIndex
CREATE UNIQUE INDEX "app_earnings_id_key" ON "app"("earnings_id");

-- CreateIndex
CREATE UNIQUE INDEX "app_sandbox_wallet_id_key" ON "app"("sandbox_wallet_id");

-- CreateIndex
CREATE UNIQUE INDEX "app_client_id_key" ON "app"("client_id");

-- CreateIndex
CREATE INDEX "app_owner_id_id_idx" ON "app"("owner_id", "id");

-- CreateIndex
CREATE UNIQUE INDEX "api_key_hash_key" ON "api_key"("hash");

-- CreateIndex
CREATE INDEX "api_key_app_id_id_idx" ON "api_key"("app_id", "id");

-- CreateIndex
CREATE UNIQUE INDEX "linked_user_limit_id_key" ON "linked_user"("limit_id");

-- CreateIndex
CREATE INDEX "linked_user_app_id_id_idx" ON "linked_user"("app_id", "id");

-- CreateIndex
CREATE INDEX "linked_user_user_id_id_idx" ON "linked_user"("user_id", "id");

-- CreateIndex
CREATE UNIQUE INDEX "linked_user_app_id_external_user_id_key" ON "linked_user"("app_id", "external_user_id");

-- CreateIndex
CREATE INDEX "usage_app_id_id_idx" ON "usage"("app_id", "id");

-- CreateIndex
CREATE INDEX "usage_wallet_id_id_idx" ON "usage"("wallet_id", "id");

-- CreateIndex
CREATE INDEX "transfer_debit_id_id_idx" ON "transfer"("debit_id", "id");

-- CreateIndex
CREATE INDEX "transfer_credit_id_id_idx" ON "transfer"("credit_id", "id");

-- CreateIndex
CREATE INDEX "outbox_event_app_id_id_idx" ON "outbox_event"("app_id", "id");

-- CreateIndex
CREATE INDEX "idempotency_record_expires_at_idx" ON "idempotency_record"("expires_at");

-- AddForeignKey
ALTER TABLE "app" ADD CONSTRAINT "app_owner_id_fkey" FOREIGN KEY ("owner_id") REFERENCES "user"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "api_key" ADD CONSTRAINT "api_key_app_id_fkey" FOREIGN KEY ("app_id") REFERENCES "app"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "linked_user" ADD CONSTRAINT "linked_user_app_id_fkey" FOREIGN KEY ("app_id") REFERENCES "app"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "linked_user" ADD CONSTRAINT "linked_user_user_id_fkey" FOREIGN KEY ("user_id") REFERENCES "user"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- What Prisma can't say.

-- Money. No path may take a bounded account below zero; the last guard is here.
ALTER TABLE "account" ADD CONSTRAINT "account_never_negative"
  CHECK (NOT "bounded" OR ("available" >= 0 AND "held" >= 0));
ALTER TABLE "account" ADD CONSTRAINT "account_kind_is_bounded"
  CHECK ("bounded" = ("kind" <> 'platform'));
ALTER TABLE "hold" ADD CONSTRAINT "hold_amount_positive" CHECK ("amount" > 0);
ALTER TABLE "transfer" ADD CONSTRAINT "transfer_amount_positive" CHECK ("amount" > 0);
ALTER TABLE "transfer" ADD CONSTRAINT "transfer_between_two" CHECK ("debit_id" <> "credit_id");
ALTER TABLE "usage" ADD CONSTRAINT "usage_within_hold"
  CHECK ("base" >= 0 AND "markup" >= 0 AND "shortfall" >= 0 AND "base" + "markup" <= "held");
ALTER TABLE "app" ADD CONSTRAINT "app_markup_bps_range" CHECK ("markup_bps" BETWEEN 0 AND 100000);
ALTER TABLE "linked_user" ADD CONSTRAINT "linked_user_limit_whole"
  CHECK (("limit_id" IS NULL) = ("monthly_limit" IS NULL) AND ("limit_id" IS NULL) = ("limit_period_ends_at" IS NULL) AND "monthly_limit" >= 0);
ALTER TABLE "linked_user" ADD CONSTRAINT "linked_user_external_user_id_length"
  CHECK (char_length("external_user_id") BETWEEN 1 AND 255);

-- Accounts are the only rows the hot path updates. Half of each page stays free,
-- so that an update finds room beside its old version and touches no index.
ALTER TABLE "account" SET (fillfactor = 50);

-- The journal is added to, never edited.
CREATE FUNCTION "refuse_rewriting_history"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'rows of % are never changed or removed; record a correction instead', TG_TABLE_NAME
    USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER "hold_insert_only" BEFORE UPDATE OR DELETE OR TRUNCATE ON "hold"
  FOR EACH STATEMENT EXECUTE FUNCTION "refuse_rewriting_history"();
CREATE TRIGGER "usage_insert_only" BEFORE UPDATE OR DELETE OR TRUNCATE ON "usage"
  FOR EACH STATEMENT EXECUTE FUNCTION "refuse_rewriting_history"();
CREATE TRIGGER "transfer_insert_only" BEFORE UPDATE OR DELETE OR TRUNCATE ON "transfer"
  FOR EACH STATEMENT EXECUTE FUNCTION "refuse_rewriting_history"();

-- The platform's own accounts, with ids that code knows (src/server/ledger/accounts.ts).
INSERT INTO "account" ("id", "kind", "bounded") VALUES
  ('00000000-0000-7000-8000-000000000001', 'platform', false), -- world: where top-ups come from
  ('00000000-0000-7000-8000-000000000002', 'platform', false), -- revenue: base costs
  ('00000000-0000-7000-8000-000000000003', 'platform', false), -- promotions: credits given away
  ('00000000-0000-7000-8000-000000000004', 'platform', false), -- shortfall: what the platform bore
  ('00000000-0000-7000-8000-000000000005', 'platform', false), -- sandbox: source and sink of play credits
  ('00000000-0000-7000-8000-000000000006', 'platform', false); -- allowance: what refills spending limits

-- The whole journal as debits and credits, one line each, for whoever audits it.
-- Every entry's lines sum to zero, and an account's lines sum to its balance.
CREATE VIEW "ledger_entry" AS
  SELECT "id" AS "entry_id", "debit_id" AS "account_id", -"amount" AS "amount", "reason"::text AS "reason", "created_at" FROM "transfer"
  UNION ALL
  SELECT "id", "credit_id", "amount", "reason"::text, "created_at" FROM "transfer"
  UNION ALL
  SELECT "id", "wallet_id", -("base" + "markup"), 'completion', "created_at" FROM "usage" WHERE "base" + "markup" > 0
  UNION ALL
  SELECT "id", '00000000-0000-7000-8000-000000000004', -"shortfall", 'shortfall', "created_at" FROM "usage" WHERE "shortfall" > 0
  UNION ALL
  SELECT "id", "revenue_id", "base" + "shortfall", 'completion', "created_at" FROM "usage" WHERE "base" + "shortfall" > 0
  UNION ALL
  SELECT "id", "earnings_id", "markup", 'markup', "created_at" FROM "usage" WHERE "markup" > 0
  UNION ALL
  SELECT "id", "limit_id", -("base" + "markup"), 'allowance', "created_at" FROM "usage" WHERE "limit_id" IS NOT NULL AND "base" + "markup" > 0
  UNION ALL
  SELECT "id", '00000000-0000-7000-8000-000000000006', "base" + "markup", 'allowance', "created_at" FROM "usage" WHERE "limit_id" IS NOT NULL AND "base" + "markup" > 0;
