import { closeDatabase, database, transaction } from "../platform/db.ts";
import { mendDates } from "./shifted.ts";

/** `npm run ledger:mend-dates`: corrects the dates that `ledger:verify` names as shifted. */
try {
  await (await database()).check();
  const mended = await transaction(mendDates);
  console.log(mended === 0 ? "No date was shifted." : `Put ${mended} dates right.`);
} catch (error) {
  console.error(`The dates could not be put right: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 2;
} finally {
  await closeDatabase().catch(() => {});
}
