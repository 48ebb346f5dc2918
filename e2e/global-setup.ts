import { generateClient } from "../prisma/generate.ts";

/** Makes what all workers share: Prisma's client, the built pages, the packages and the example, and one Postgres. */
export default async function globalSetup(): Promise<() => Promise<void>> {
  generateClient();
  // Built once here, because two servers without a build would both make one.
  const { ensureBuild } = await import("../src/server/start/build.ts");
  if (process.env.QUOTA_E2E_PAGES !== "0") await ensureBuild(() => console.log("Building the pages …"));
  const { ensureExample, ensurePackages } = await import("../packages/build.ts");
  if (process.env.QUOTA_E2E_PAGES === "0") await ensurePackages();
  else await ensureExample(() => console.log("Building the example …"));
  const { startPostgres } = await import("../src/testing/postgres.ts");
  const postgres = await startPostgres(["-c", "fsync=off"]);
  process.env.QUOTA_E2E_POSTGRES_URL = postgres.url;
  return postgres.stop;
}
