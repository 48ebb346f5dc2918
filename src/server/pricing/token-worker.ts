import { parentPort } from "node:worker_threads";
import { closerBound } from "./bound.ts";
import { bytesOf, loadTokenizer, tokensOf } from "./bpe.ts";

/** The worker thread that tokenizes: runs orders one after the other and answers each. */

export type Order = { id: number } & (
  | { kind: "count"; texts: readonly string[] }
  /** An upper bound of the texts' tokens with another tokenizer; see `closerBound`. */
  | { kind: "bound"; texts: readonly string[]; margin: number }
  | { kind: "encode"; text: string }
  /** The UTF-8 bytes of each token; null for a number that is no token. */
  | { kind: "bytes"; tokens: readonly number[] }
);

export type Done = { id: number; count?: number; tokens?: number[]; bytes?: (Uint8Array | null)[] };

const tokenizer = await loadTokenizer();

parentPort?.on("message", (order: Order) => parentPort?.postMessage(carryOut(order)));
parentPort?.postMessage("ready");

function carryOut(order: Order): Done {
  const { id } = order;
  if (order.kind === "count") {
    let count = 0;
    for (const text of order.texts) for (const slice of tokensOf(tokenizer, text)) count += slice.length;
    return { id, count };
  }
  if (order.kind === "bound") {
    let count = 0;
    for (const text of order.texts) for (const part of closerBound(tokenizer, text, order.margin)) count += part;
    return { id, count };
  }
  if (order.kind === "encode") return { id, tokens: Array.from(tokensOf(tokenizer, order.text)).flat() };
  return { id, bytes: order.tokens.map((token) => bytesOf(tokenizer, token)) };
}
