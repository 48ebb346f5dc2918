import type { Tx } from "../platform/db.ts";
import { newId } from "../platform/ids.ts";
import type { QuotaEvent } from "./events.ts";
import { nudge } from "./nudge.ts";

export type { QuotaEvent } from "./events.ts";

/**
 * Inserts an event in the transaction of what it reports, so that both are committed or neither.
 * Events of settlements are inserted by `write_settlement_events`, which the ledger's functions call.
 */
export async function emit(tx: Tx, appId: string, event: QuotaEvent): Promise<void> {
  await tx.prisma.outboxEvent.create({ data: { id: newId(), appId, type: event.type, data: event.data } });
  nudge();
}
