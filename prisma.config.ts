import { defineConfig } from "prisma/config";

/**
 * For Prisma's command line: `prisma generate` reads the schema's folder, and `prisma migrate resolve` reaches the
 * database that the server uses. Without `migrations.path` it would look for migrations inside that folder. The server
 * itself migrates by prisma/migrate.ts.
 */
export default defineConfig({
  schema: "prisma/schema",
  migrations: { path: "prisma/migrations" },
  ...(process.env.DATABASE_URL ? { datasource: { url: process.env.DATABASE_URL } } : {}),
});
