import { balanceOf } from "../ledger/accounts.ts";
import { isSameTransfer, transfer } from "../ledger/transfer.ts";
import type { Tx } from "../platform/db.ts";
import { AppError, noLinkedUser } from "../platform/errors.ts";

/**
 * Transfers credits from a developer to a linked user of the developer's app. Throws
 * `not_found` when no user is linked under that id or the link is paused,
 * `insufficient_credits` when the developer's wallet can't pay, `bad_request` when both
 * are the same wallet. Idempotent by the gift's id; a different gift with the same id
 * is `idempotency_conflict`.
 */
export async function fundLinkedUser(
  tx: Tx,
  gift: { id: string; appId: string; fromWalletId: string; externalUserId: string; amount: bigint; description?: string | undefined },
): Promise<{ balanceAfter: bigint }> {
  const link = await tx.prisma.linkedUser.findFirst({
    where: { appId: gift.appId, externalUserId: gift.externalUserId, pausedAt: null },
    select: { walletId: true },
  });
  if (link === null) throw noLinkedUser();
  if (link.walletId === gift.fromWalletId) {
    throw new AppError("bad_request", { param: "external_user_id", message: "This linked user's wallet is your own." });
  }
  const move = {
    id: gift.id,
    debitId: gift.fromWalletId,
    creditId: link.walletId,
    amount: gift.amount,
    reason: "funding",
    description: gift.description,
  } as const;
  const outcome = await transfer(tx, move);
  if (outcome === "insufficient")
    throw new AppError("insufficient_credits", { message: "Your own wallet does not have enough credits for this gift." });
  // With it the account statements of both sides name app and user.
  if (outcome === "applied")
    await tx.prisma.gift.create({ data: { transferId: gift.id, appId: gift.appId, externalUserId: gift.externalUserId } });
  if (outcome === "duplicate") {
    const earlier = await tx.prisma.gift.findUnique({ where: { transferId: gift.id }, select: { appId: true, externalUserId: true } });
    if (!(await isSameTransfer(tx, move)) || earlier?.appId !== gift.appId || earlier.externalUserId !== gift.externalUserId)
      throw new AppError("idempotency_conflict", {
        message: "This gift was given already, with another amount, note or person. It stays as it is.",
      });
  }
  return { balanceAfter: (await balanceOf(tx, link.walletId)).balance };
}
