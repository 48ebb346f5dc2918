-- How credits come in, and how they are taken back.
CREATE TYPE "payment_provider" AS ENUM ('stripe', 'sandbox');
CREATE TYPE "payment_status" AS ENUM ('open', 'processing', 'paid', 'failed', 'expired');
CREATE TYPE "reversal_kind" AS ENUM ('refund', 'dispute');
CREATE TYPE "reversal_state" AS ENUM ('announced', 'standing', 'undone');
CREATE TYPE "auto_top_up" AS ENUM ('off', 'waiting_for_card', 'on', 'stopped');

-- One top-up, from the moment it was asked for.
CREATE TABLE "payment" (
    "id" UUID NOT NULL,
    "wallet_id" UUID NOT NULL,
    "user_id" UUID NOT NULL,
    "provider" "payment_provider" NOT NULL,
    "status" "payment_status" NOT NULL DEFAULT 'open',
    "automatic" BOOLEAN NOT NULL DEFAULT false,
    -- The wallet, while an automatic top-up of it is not settled: there is at most one, whatever number of servers look.
    "automatic_for" UUID,
    "save_card" BOOLEAN NOT NULL DEFAULT false,
    "amount" BIGINT NOT NULL,
    "cents" INTEGER NOT NULL,
    "app_id" UUID,
    "external_user_id" TEXT,
    "return_url" TEXT,
    "session_id" TEXT,
    "customer_id" TEXT,
    "payment_method_id" TEXT,
    "transfer_id" UUID,
    "method" TEXT,
    "receipt_url" TEXT,
    "problem" TEXT,
    "asked_at" TIMESTAMPTZ(3),
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "expires_at" TIMESTAMPTZ(3) NOT NULL,
    "paid_at" TIMESTAMPTZ(3),

    CONSTRAINT "payment_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "payment_moves_something" CHECK ("amount" > 0 AND "cents" > 0),
    -- Paid and credited are one.
    CONSTRAINT "payment_paid_is_credited" CHECK (("status" = 'paid') = ("transfer_id" IS NOT NULL)),
    CONSTRAINT "payment_automatic_until_settled" CHECK (("automatic_for" IS NOT NULL) = ("automatic" AND "status" IN ('open', 'processing')))
);

CREATE UNIQUE INDEX "payment_session_id_key" ON "payment"("session_id");
CREATE UNIQUE INDEX "payment_transfer_id_key" ON "payment"("transfer_id");
CREATE INDEX "payment_wallet_id_id_idx" ON "payment"("wallet_id", "id");
CREATE UNIQUE INDEX "payment_automatic_for_key" ON "payment"("automatic_for");
CREATE INDEX "payment_status_asked_at_idx" ON "payment"("status", "asked_at");

ALTER TABLE "payment" ADD CONSTRAINT "payment_user_id_fkey" FOREIGN KEY ("user_id") REFERENCES "user"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- A payment at Stripe. Its row is locked by whoever hears of it, so that news in any order is taken one after the other.
CREATE TABLE "payment_intent" (
    "id" TEXT NOT NULL,
    "payment_id" UUID,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "payment_intent_pkey" PRIMARY KEY ("id")
);

CREATE UNIQUE INDEX "payment_intent_payment_id_key" ON "payment_intent"("payment_id");

ALTER TABLE "payment_intent" ADD CONSTRAINT "payment_intent_payment_id_fkey" FOREIGN KEY ("payment_id") REFERENCES "payment"("id") ON DELETE SET NULL ON UPDATE CASCADE;

-- Refunds and disputes.
CREATE TABLE "reversal" (
    "id" TEXT NOT NULL,
    "payment_intent_id" TEXT NOT NULL,
    "kind" "reversal_kind" NOT NULL,
    "state" "reversal_state" NOT NULL,
    "amount" BIGINT NOT NULL,
    "taken" BIGINT NOT NULL DEFAULT 0,
    "owed" BIGINT NOT NULL DEFAULT 0,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "reversal_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "reversal_books_all_or_nothing" CHECK ("taken" + "owed" IN (0, "amount"))
);

CREATE INDEX "reversal_payment_intent_id_idx" ON "reversal"("payment_intent_id");

ALTER TABLE "reversal" ADD CONSTRAINT "reversal_payment_intent_id_fkey" FOREIGN KEY ("payment_intent_id") REFERENCES "payment_intent"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- Stripe's events that were carried out.
CREATE TABLE "stripe_event" (
    "id" TEXT NOT NULL,
    "type" TEXT NOT NULL,
    "handled_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "stripe_event_pkey" PRIMARY KEY ("id")
);

CREATE INDEX "stripe_event_handled_at_idx" ON "stripe_event"("handled_at");

-- How a person fills their wallet.
CREATE TABLE "billing" (
    "wallet_id" UUID NOT NULL,
    "user_id" UUID NOT NULL,
    "customer_id" TEXT,
    "payment_method_id" TEXT,
    "payment_method" TEXT,
    "auto_top_up" "auto_top_up" NOT NULL DEFAULT 'off',
    "auto_threshold" BIGINT,
    "auto_amount" BIGINT,
    "auto_monthly_maximum" BIGINT,
    "auto_problem" TEXT,
    "auto_armed" BOOLEAN NOT NULL DEFAULT true,
    "low_balance_mail" BOOLEAN NOT NULL DEFAULT true,
    "low_since" TIMESTAMPTZ(3),

    CONSTRAINT "billing_pkey" PRIMARY KEY ("wallet_id"),
    CONSTRAINT "billing_auto_top_up_is_complete" CHECK ("auto_top_up" = 'off' OR
      ("auto_threshold" > 0 AND "auto_amount" >= "auto_threshold" AND "auto_monthly_maximum" >= "auto_amount"))
);

CREATE UNIQUE INDEX "billing_user_id_key" ON "billing"("user_id");
CREATE UNIQUE INDEX "billing_customer_id_key" ON "billing"("customer_id");
CREATE INDEX "billing_auto_top_up_idx" ON "billing"("auto_top_up");
CREATE INDEX "billing_low_since_idx" ON "billing"("low_since");

ALTER TABLE "billing" ADD CONSTRAINT "billing_user_id_fkey" FOREIGN KEY ("user_id") REFERENCES "user"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- What wallets owe, because a refund or dispute came after the credits were spent.
CREATE TABLE "debt" (
    "wallet_id" UUID NOT NULL,
    "amount" BIGINT NOT NULL DEFAULT 0,

    CONSTRAINT "debt_pkey" PRIMARY KEY ("wallet_id"),
    CONSTRAINT "debt_not_negative" CHECK ("amount" >= 0)
);

CREATE INDEX "debt_amount_idx" ON "debt"("amount");

-- Which app gave credits to whom, by the transfer that moved them.
CREATE TABLE "gift" (
    "transfer_id" UUID NOT NULL,
    "app_id" UUID NOT NULL,
    "external_user_id" TEXT NOT NULL,

    CONSTRAINT "gift_pkey" PRIMARY KEY ("transfer_id")
);

-- src/server/ledger/accounts.ts knows these ids.
INSERT INTO "account" ("id", "kind", "bounded") VALUES
  ('00000000-0000-7000-8000-000000000101', 'platform', false), -- stripe: what came in through Stripe, less what went back
  ('00000000-0000-7000-8000-000000000102', 'platform', false), -- sandboxCheckout: credits that nobody paid for
  ('00000000-0000-7000-8000-000000000103', 'platform', false); -- receivable: what wallets owe
