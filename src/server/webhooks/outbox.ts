import type { Tx } from "../platform/db.ts";

/** The news that can be told. `data` holds what an app may know, and ids only it gave. */
export type QuotaEvent =
  | { type: "user.connected"; data: { user_id: string; external_user_id: string; connected_at: string } }
  | {
      type: "user.disconnected";
      data: { user_id: string; external_user_id: string; disconnected_at: string; reason: "app" | "user" | "replaced" };
    };

/** Writes an event down in the transaction of what it reports: both happen, or neither. */
export async function emit(tx: Tx, appId: string, event: QuotaEvent): Promise<void> {
  await tx.prisma.outboxEvent.create({ data: { appId, type: event.type, data: event.data } });
}
