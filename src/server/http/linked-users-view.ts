import { z } from "zod";
import type { Caller } from "../apps/api-keys.ts";
import { findLinkedUser, type LinkedUserView } from "../connect/linked-users.ts";
import { balanceOf } from "../ledger/accounts.ts";
import { database } from "../platform/db.ts";
import { noLinkedUser } from "../platform/errors.ts";

export const userParams = z.object({
  external_user_id: z
    .string()
    .min(1)
    .max(255)
    .regex(/^(?!\s)[^\p{Cc}\p{Cs}]*(?<!\s)$/u),
});

export function linkedUserView(view: LinkedUserView) {
  return {
    user: view.user,
    linked_at: view.linkedAt.toISOString(),
    ...(view.limit === undefined ? {} : { limit: view.limit, spent: view.spent }),
  };
}

/**
 * One linked user as a key may see it. For a `test` key every id but `sandbox_missing` names the sandbox's wallet. Throws
 * `not_found`.
 */
export async function visibleLinkedUser(caller: Caller, externalUserId: string): Promise<LinkedUserView> {
  const db = await database();
  if (caller.billingMode === "test") {
    if (externalUserId === "sandbox_missing") throw noLinkedUser();
    const balance = externalUserId === "sandbox_empty" ? 0n : (await balanceOf(db.sql, caller.sandboxWalletId)).balance;
    return {
      externalUserId,
      user: { id: caller.sandboxWalletId, email: "sandbox@example.com", balance },
      linkedAt: new Date(0),
      walletId: caller.sandboxWalletId,
    };
  }
  const view = await findLinkedUser(db, caller.appId, externalUserId);
  if (view === null) throw noLinkedUser();
  return view;
}
