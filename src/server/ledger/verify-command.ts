import { closeDatabase, database } from "../platform/db.ts";
import { verify } from "./verify.ts";

/** `npm run ledger:verify`: checks the books and prints discrepancies. Exits with 1 when there are some, with 2 when the check fails. */
try {
  const db = await database();
  await db.check();
  const report = await db.withoutTimeLimit((sql) => verify(sql));
  console.log(`${report.accounts} accounts, ${report.transfers} transfers, ${report.usages} requests, ${report.openHolds} open holds.`);
  for (const found of report.discrepancies)
    console.error(
      `  ${found.rule}: ${found.what} should be ${found.expected} and is ${found.found}${found.mend === undefined ? "" : ` (${found.mend})`}`,
    );
  console.log(report.ok ? "The books are in order." : "The books are NOT in order.");
  process.exitCode = report.ok ? 0 : 1;
} catch (error) {
  console.error(`The books could not be proved: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 2;
} finally {
  await closeDatabase().catch(() => {});
}
