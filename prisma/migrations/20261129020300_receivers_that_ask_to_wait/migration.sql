-- Until when a receiver asked, with Retry-After, to be left alone.
ALTER TABLE "webhook_endpoint" ADD COLUMN "quiet_until" TIMESTAMPTZ(3);
