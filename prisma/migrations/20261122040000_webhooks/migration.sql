-- Where an app hears news.
CREATE TABLE "webhook_endpoint" (
    "id" UUID NOT NULL,
    "app_id" UUID NOT NULL,
    "url" TEXT NOT NULL,
    "description" TEXT,
    "events" TEXT[] NOT NULL,
    "sandbox" BOOLEAN NOT NULL DEFAULT false,
    "balance_low_threshold" BIGINT NOT NULL DEFAULT 100000,
    "secret" BYTEA NOT NULL,
    "former_secret" BYTEA,
    "former_secret_until" TIMESTAMPTZ(3),
    "failing_since" TIMESTAMPTZ(3),
    "disabled_at" TIMESTAMPTZ(3),
    "disabled_reason" TEXT,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "webhook_endpoint_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "webhook_endpoint_disabled_check" CHECK (("disabled_at" IS NULL) = ("disabled_reason" IS NULL))
);

CREATE INDEX "webhook_endpoint_app_id_id_idx" ON "webhook_endpoint"("app_id", "id");

-- A settlement asks for the lowest and the highest threshold there is, so that only a
-- balance that falls between them looks any further.
CREATE INDEX "webhook_endpoint_low_idx" ON "webhook_endpoint"("balance_low_threshold")
    WHERE "disabled_at" IS NULL AND 'balance.low' = ANY ("events");

ALTER TABLE "webhook_endpoint" ADD CONSTRAINT "webhook_endpoint_app_id_fkey" FOREIGN KEY ("app_id") REFERENCES "app"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- News may be for one endpoint alone, and is handed on once.
ALTER TABLE "outbox_event" ADD COLUMN "endpoint_id" UUID,
ADD COLUMN "sandbox" BOOLEAN NOT NULL DEFAULT false,
ADD COLUMN "relayed_at" TIMESTAMPTZ(3);

-- What happened before there were endpoints has nobody to go to.
UPDATE "outbox_event" SET "relayed_at" = CURRENT_TIMESTAMP;

CREATE INDEX "outbox_event_waiting_idx" ON "outbox_event"("id") WHERE "relayed_at" IS NULL;

-- One event on its way to one endpoint.
CREATE TABLE "webhook_delivery" (
    "id" UUID NOT NULL,
    "app_id" UUID NOT NULL,
    "endpoint_id" UUID NOT NULL,
    "event_id" UUID NOT NULL,
    "type" TEXT NOT NULL,
    "status" TEXT NOT NULL DEFAULT 'pending',
    "attempts" INTEGER NOT NULL DEFAULT 0,
    "next_attempt_at" TIMESTAMPTZ(3),
    "job_id" UUID,
    "last_response_status" INTEGER,
    "last_error" TEXT,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updated_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "webhook_delivery_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "webhook_delivery_status_check" CHECK ("status" IN ('pending', 'succeeded', 'failed')),
    CONSTRAINT "webhook_delivery_next_check" CHECK (("status" = 'pending') = ("next_attempt_at" IS NOT NULL))
);

CREATE INDEX "webhook_delivery_endpoint_id_id_idx" ON "webhook_delivery"("endpoint_id", "id");
CREATE INDEX "webhook_delivery_event_id_idx" ON "webhook_delivery"("event_id");
CREATE INDEX "webhook_delivery_waiting_idx" ON "webhook_delivery"("id") WHERE "status" = 'pending' AND "job_id" IS NULL;
CREATE INDEX "webhook_delivery_pending_idx" ON "webhook_delivery"("endpoint_id") WHERE "status" = 'pending';

ALTER TABLE "webhook_delivery" ADD CONSTRAINT "webhook_delivery_endpoint_id_fkey" FOREIGN KEY ("endpoint_id") REFERENCES "webhook_endpoint"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- One try to deliver, as it went.
CREATE TABLE "webhook_attempt" (
    "id" UUID NOT NULL,
    "delivery_id" UUID NOT NULL,
    "url" TEXT NOT NULL,
    "request_headers" JSONB NOT NULL,
    "response_status" INTEGER,
    "response_body" TEXT,
    "error" TEXT,
    "started_at" TIMESTAMPTZ(3) NOT NULL,
    "duration_ms" INTEGER NOT NULL,

    CONSTRAINT "webhook_attempt_pkey" PRIMARY KEY ("id")
);

CREATE INDEX "webhook_attempt_delivery_id_id_idx" ON "webhook_attempt"("delivery_id", "id");

ALTER TABLE "webhook_attempt" ADD CONSTRAINT "webhook_attempt_delivery_id_fkey" FOREIGN KEY ("delivery_id") REFERENCES "webhook_delivery"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- Who is linked with a wallet: a balance that falls is news for all of their apps.
CREATE INDEX "linked_user_wallet_id_idx" ON "linked_user"("wallet_id");
