import type { Sql } from "../platform/sql.ts";

/** Months ahead, so that a failing job can be noticed before a month lacks its partition. */
const AHEAD = 3;

/** Makes the partitions of `usage` and `transfer` for this month and the next ones. Several servers may run it at once. */
export async function preparePartitions(sql: Sql): Promise<void> {
  await sql.query({ name: "ledger_prepare_partitions", text: "SELECT prepare_partitions($1::int)" }, [AHEAD]);
}
