-- CreateTable
CREATE TABLE "usage_hour" (
    "app_id" UUID NOT NULL,
    "hour" TIMESTAMPTZ(3) NOT NULL,
    "sandbox" BOOLEAN NOT NULL,
    "model" TEXT NOT NULL,
    "api_key_id" UUID NOT NULL,
    "requests" BIGINT NOT NULL,
    "failed" BIGINT NOT NULL,
    "prompt_tokens" BIGINT NOT NULL,
    "completion_tokens" BIGINT NOT NULL,
    "base" BIGINT NOT NULL,
    "markup" BIGINT NOT NULL,

    CONSTRAINT "usage_hour_pkey" PRIMARY KEY ("app_id","sandbox","hour","model","api_key_id")
);

-- CreateTable
CREATE TABLE "usage_user_day" (
    "app_id" UUID NOT NULL,
    "day" TIMESTAMPTZ(3) NOT NULL,
    "sandbox" BOOLEAN NOT NULL,
    "external_user_id" TEXT NOT NULL,
    "wallet_id" UUID NOT NULL,
    "requests" BIGINT NOT NULL,
    "failed" BIGINT NOT NULL,
    "prompt_tokens" BIGINT NOT NULL,
    "completion_tokens" BIGINT NOT NULL,
    "base" BIGINT NOT NULL,
    "markup" BIGINT NOT NULL,
    "last_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "usage_user_day_pkey" PRIMARY KEY ("app_id","sandbox","day","external_user_id","wallet_id")
);

-- CreateTable
CREATE TABLE "usage_user_month" (
    "app_id" UUID NOT NULL,
    "month" TIMESTAMPTZ(3) NOT NULL,
    "sandbox" BOOLEAN NOT NULL,
    "external_user_id" TEXT NOT NULL,
    "requests" BIGINT NOT NULL,
    "failed" BIGINT NOT NULL,
    "prompt_tokens" BIGINT NOT NULL,
    "completion_tokens" BIGINT NOT NULL,
    "base" BIGINT NOT NULL,
    "markup" BIGINT NOT NULL,
    "last_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "usage_user_month_pkey" PRIMARY KEY ("app_id","sandbox","month","external_user_id")
);

-- CreateTable
CREATE TABLE "usage_fold" (
    "id" INTEGER NOT NULL DEFAULT 1,
    "until" TIMESTAMPTZ(3) NOT NULL,
    "tail_id" UUID NOT NULL,

    CONSTRAINT "usage_fold_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "former_link" (
    "id" UUID NOT NULL,
    "app_id" UUID NOT NULL,
    "external_user_id" TEXT NOT NULL,
    "reason" TEXT NOT NULL,
    "ended_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "former_link_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE INDEX "usage_user_day_app_id_external_user_id_day_idx" ON "usage_user_day"("app_id", "external_user_id", "day");

-- CreateIndex
CREATE INDEX "former_link_app_id_ended_at_idx" ON "former_link"("app_id", "ended_at");

-- A range of pages is summarized when it is full, so that folding reads little.
-- CreateIndex
CREATE INDEX "usage_created_at_idx" ON "usage" USING BRIN ("created_at") WITH (autosummarize = on);

-- What Prisma can't say.

-- Sums are updated every minute while their hour, day or month lasts.
ALTER TABLE "usage_hour" SET (fillfactor = 80);
ALTER TABLE "usage_user_day" SET (fillfactor = 80);
ALTER TABLE "usage_user_month" SET (fillfactor = 80);

-- Nothing is folded yet.
INSERT INTO "usage_fold" ("until", "tail_id") VALUES ('1970-01-01T00:00:00Z', '00000000-0000-0000-0000-000000000000');
