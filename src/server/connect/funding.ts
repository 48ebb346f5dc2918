import { balanceOf } from "../ledger/accounts.ts";
import { transfer } from "../ledger/transfer.ts";
import type { Tx } from "../platform/db.ts";
import { AppError } from "../platform/errors.ts";

/**
 * Gives credits of a developer to a linked user of their app. Throws `not_found`
 * when nobody is linked under that id, `insufficient_credits` when the developer's
 * wallet cannot pay, `bad_request` when both are the same wallet.
 */
export async function fundLinkedUser(
  tx: Tx,
  gift: { id: string; appId: string; fromWalletId: string; externalUserId: string; amount: bigint; description?: string | undefined },
): Promise<{ balanceAfter: bigint }> {
  const link = await tx.prisma.linkedUser.findFirst({
    where: { appId: gift.appId, externalUserId: gift.externalUserId, pausedAt: null },
    select: { walletId: true },
  });
  if (link === null) throw new AppError("not_found");
  if (link.walletId === gift.fromWalletId) {
    throw new AppError("bad_request", { param: "external_user_id", message: "This linked user's wallet is your own." });
  }
  const outcome = await transfer(tx, {
    id: gift.id,
    debitId: gift.fromWalletId,
    creditId: link.walletId,
    amount: gift.amount,
    reason: "funding",
    description: gift.description,
  });
  if (outcome === "insufficient")
    throw new AppError("insufficient_credits", { message: "Your own wallet does not have enough credits for this gift." });
  // So that both statements can say who gave what to whom.
  if (outcome === "applied")
    await tx.prisma.gift.create({ data: { transferId: gift.id, appId: gift.appId, externalUserId: gift.externalUserId } });
  return { balanceAfter: (await balanceOf(tx, link.walletId)).balance };
}
