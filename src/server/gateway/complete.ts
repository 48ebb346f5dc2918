import { ledger } from "../ledger/ledger.ts";
import type { Answer, Purchase } from "./purchase.ts";
import { reserve } from "./reserve.ts";
import { Sale } from "./sale.ts";

/**
 * Answers one request and bills it: reserves credits (`reserve.ts`), then calls the provider,
 * passes its answer on and settles (`sale.ts`).
 *
 * Throws AppError. When it throws, nothing was billed, except for the `internal_error` of
 * `unbilled` (`refusals.ts`), whose message says that a bill may follow. A stream is billed
 * when it ends, also when the client hung up. A price in an answer is committed, or kept
 * on disk until it is (`ledger/kept.ts`).
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
