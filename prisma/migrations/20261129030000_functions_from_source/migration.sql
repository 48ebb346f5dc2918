-- Which of the functions that are kept as source are in this database (prisma/sources.ts), and of which version.
CREATE TABLE "sql_source" (
  "name" TEXT NOT NULL,
  "checksum" TEXT NOT NULL,
  "version" INTEGER NOT NULL,
  "applied_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

  CONSTRAINT "sql_source_pkey" PRIMARY KEY ("name")
);

-- What the ledger's functions answer. Versions before had numbers.
CREATE TYPE "hold_verdict" AS ENUM ('held', 'invalid_api_key', 'user_required', 'not_found', 'model_not_allowed', 'insufficient_scope',
  'insufficient_credits', 'spending_limit_reached', 'credits_on_hold', 'limit_due', 'locked');
CREATE TYPE "settle_verdict" AS ENUM ('settled', 'already_resolved', 'unknown_hold', 'locked');
CREATE TYPE "growth_verdict" AS ENUM ('grown', 'resolved', 'not_found', 'insufficient_credits', 'spending_limit_reached', 'credits_on_hold',
  'limit_due', 'locked');
