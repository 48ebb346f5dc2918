-- A courier leases deliveries in their own rows, with a token in job_id, instead of making a job of
-- pg-boss for each. Servers of the version before, which may run until the last one is replaced, set job_id
-- and not leased_until; what has a job_id that is not theirs they leave alone. Their schema, pgboss, stays.
ALTER TABLE "webhook_delivery" ADD COLUMN "leased_until" TIMESTAMPTZ(3);

-- What is due, by endpoint: a courier steps along it from endpoint to endpoint. Neither it nor any other
-- index has a lease in it, so that taking one adds nothing to indexes.
CREATE INDEX "webhook_delivery_due_idx" ON "webhook_delivery"("endpoint_id", "next_attempt_at") WHERE "status" = 'pending';
DROP INDEX "webhook_delivery_pending_idx";
DROP INDEX "webhook_delivery_waiting_idx";
