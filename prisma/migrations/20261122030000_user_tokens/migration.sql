-- Requests with a person's access token have no API key.
ALTER TABLE "hold" ALTER COLUMN "api_key_id" DROP NOT NULL;
ALTER TABLE "usage" ALTER COLUMN "api_key_id" DROP NOT NULL;
