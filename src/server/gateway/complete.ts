import { ledger } from "../ledger/ledger.ts";
import type { Answer, Purchase } from "./purchase.ts";
import { reserve } from "./reserve.ts";
import { Sale } from "./sale.ts";

/**
 * Buying one completion: reserve (`reserve.ts`), then call the provider, pass its answer
 * on and settle (`sale.ts`).
 *
 * Answers one request and bills it. Throws AppError; whatever it throws, nothing was
 * billed, but for `internal_error` after the longest wait for the books, which says so
 * itself. A stream is billed when it ends, however it ends. A price that is named is
 * committed, or on disk until it is.
 */
export async function complete(purchase: Purchase): Promise<Answer> {
  const startedAt = performance.now();
  const books = await ledger();
  const held = await reserve(books, purchase);
  const sale = new Sale(books, purchase, held, startedAt);
  try {
    return await sale.run();
  } catch (error) {
    await sale.release();
    throw error;
  }
}
