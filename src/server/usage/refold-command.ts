import { closeDatabase, database } from "../platform/db.ts";
import { refoldUsage } from "./rollup.ts";

/** `npm run usage:refold`: rebuilds the sums that reports read, from the requests. */
try {
  const db = await database();
  await db.check();
  await refoldUsage(db);
  console.log("The sums of usage are made anew.");
} catch (error) {
  console.error(`The sums of usage could not be made anew: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 2;
} finally {
  await closeDatabase().catch(() => {});
}
