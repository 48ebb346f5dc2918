import { closeDatabase, database, transaction } from "../platform/db.ts";
import { rotateKeys } from "./keys.ts";

/** `npm run oauth:rotate-keys`. With the embedded database the server has to be stopped first. */
try {
  await (await database()).check();
  const kid = await transaction(rotateKeys);
  console.log(`From now on key ${kid} signs id_tokens; the one before it still verifies. Running servers notice within a minute.`);
} catch (error) {
  console.error(`The keys could not be rotated: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
} finally {
  await closeDatabase().catch(() => {});
}
