-- AlterTable
ALTER TABLE "app" ADD COLUMN "deleted_at" TIMESTAMPTZ(3),
ADD COLUMN "former_secret_ends_at" TIMESTAMPTZ(3),
ADD COLUMN "former_secret_fragment" TEXT,
ADD COLUMN "former_secret_hash" BYTEA,
ADD COLUMN "scopes" TEXT[] DEFAULT ARRAY['openid', 'profile', 'email', 'credits.read', 'credits.spend']::TEXT[];

-- AlterTable
ALTER TABLE "api_key" ADD COLUMN "created_by_id" UUID,
ADD COLUMN "last_used_at" TIMESTAMPTZ(3),
ADD COLUMN "rolled_to_id" UUID;

-- Until now an app had one person who could make keys.
UPDATE "api_key" SET "created_by_id" = "app"."owner_id" FROM "app" WHERE "app"."id" = "api_key"."app_id";

-- CreateIndex
CREATE UNIQUE INDEX "api_key_rolled_to_id_key" ON "api_key"("rolled_to_id");

-- AddForeignKey
ALTER TABLE "api_key" ADD CONSTRAINT "api_key_created_by_id_fkey" FOREIGN KEY ("created_by_id") REFERENCES "user"("id") ON DELETE SET NULL ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "api_key" ADD CONSTRAINT "api_key_rolled_to_id_fkey" FOREIGN KEY ("rolled_to_id") REFERENCES "api_key"("id") ON DELETE SET NULL ON UPDATE CASCADE;

-- Deleting an app finds the grants of its client.
CREATE INDEX "oauth_record_client_idx" ON "oauth_record"((payload ->> 'clientId')) WHERE kind = 'Grant';
