import type { Tx } from "../platform/db.ts";
import { newId } from "../platform/ids.ts";
import type { QuotaEvent } from "./events.ts";
import { nudge } from "./nudge.ts";

export type { QuotaEvent } from "./events.ts";

/**
 * Writes an event down in the transaction of what it reports: both happen, or neither.
 * What a settlement reports, the ledger's statement writes down itself.
 */
export async function emit(tx: Tx, appId: string, event: QuotaEvent): Promise<void> {
  await tx.prisma.outboxEvent.create({ data: { id: newId(), appId, type: event.type, data: event.data } });
  nudge();
}
