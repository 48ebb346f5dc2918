import type { Sql } from "../platform/sql.ts";

/** Months ahead: a job that fails for a while has time to be noticed. */
const AHEAD = 3;

/** Makes the partitions that the journal will soon need. Safe to run in several servers at once. */
export async function preparePartitions(sql: Sql): Promise<void> {
  await sql.query({ name: "ledger_prepare_partitions", text: "SELECT prepare_partitions($1::int)" }, [AHEAD]);
}
