import { v7 as uuidv7 } from "uuid";
import { transaction } from "../platform/db.ts";
import { balanceOf, platformAccount } from "./accounts.ts";
import { transfer } from "./transfer.ts";

/** What a sandbox wallet is filled up to, in credits: $100 of play money. */
export const SANDBOX_CREDITS = 100_000_000n;

/** Fills a sandbox wallet up with play credits, so that test requests are not refused for lack of them. */
export async function refillSandbox(walletId: string): Promise<void> {
  await transaction(async (tx) => {
    // Not `balance`: requests under way may hold all of it.
    const { available } = await balanceOf(tx, walletId);
    const missing = SANDBOX_CREDITS - available;
    if (missing <= 0n) return;
    await transfer(tx, {
      id: uuidv7(),
      debitId: platformAccount.sandbox,
      creditId: walletId,
      amount: missing,
      reason: "grant",
      description: "Play credits",
    });
  });
}
