-- Who runs the first request with an Idempotency-Key. A claim is leased for some seconds
-- and prolonged by the process that runs the request, so that the key of a process that
-- died is free again; whoever takes the key over writes another claim, and by that the
-- one before can neither bill nor remember. Null: made by a server of the version before,
-- whose claims last as long as the longest request.
ALTER TABLE "idempotency_record" ADD COLUMN "claim" UUID;
