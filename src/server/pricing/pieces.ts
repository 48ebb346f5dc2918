import { setImmediate as nextTurn } from "node:timers/promises";
import { closerBound, mostTokens } from "./bound.ts";
import { bytesOf, cutIntoPieces, PIECE_UNITS, type Tokenizer, tokensOf } from "./bpe.ts";
import type { Done, Order } from "./token-worker.ts";

/** Each member of a union without its id. */
type Unnumbered<T> = T extends unknown ? Omit<T, "id"> : never;
/** Work for the token worker, of about 30 ms at most. */
export type Piece = Unnumbered<Order>;

/** Runs a piece on this thread, and lets the event loop run every TURN_MS. */
export async function runInTurns(tokenizer: Tokenizer, piece: Piece): Promise<Done> {
  if (piece.kind === "bytes") return { id: 0, bytes: piece.tokens.map((token) => bytesOf(tokenizer, token)) };
  const tokens: number[] = [];
  let count = 0;
  let turnEnds = performance.now() + TURN_MS;
  for (const text of piece.kind === "encode" ? [piece.text] : piece.texts) {
    for (const part of piece.kind === "bound" ? closerBound(tokenizer, text, piece.margin) : tokensOf(tokenizer, text)) {
      count += typeof part === "number" ? part : part.length;
      if (piece.kind === "encode" && typeof part === "object") tokens.push(...part);
      if (performance.now() < turnEnds) continue;
      await nextTurn();
      turnEnds = performance.now() + TURN_MS;
    }
  }
  return { id: 0, count, tokens };
}

const TURN_MS = 5;

/** Cuts texts into pieces; short texts share one. Their tokens are bounded when there is a margin, otherwise counted. */
export function piecesOf(texts: readonly string[], margin?: number): Piece[] {
  const pieces: Piece[] = [];
  let together: string[] = [];
  let units = 0;
  const close = () => {
    if (together.length > 0)
      pieces.push(margin === undefined ? { kind: "count", texts: together } : { kind: "bound", texts: together, margin });
    together = [];
    units = 0;
  };
  for (const text of texts) {
    for (const part of cutIntoPieces(text)) {
      if (units + part.length > PIECE_UNITS) close();
      together.push(part);
      units += part.length;
    }
  }
  close();
  return pieces;
}

/** The sum of the pieces' UTF-16 units, or of their tokens. */
export function unitsOf(pieces: readonly Piece[]): number {
  let units = 0;
  for (const piece of pieces) {
    if (piece.kind === "count" || piece.kind === "bound") for (const text of piece.texts) units += text.length;
    else units += piece.kind === "encode" ? piece.text.length : piece.tokens.length;
  }
  return units;
}

/** `many` of the pieces, chosen at random. */
export function randomSample(pieces: readonly Piece[], many: number): Piece[] {
  const rest = [...pieces];
  for (let at = 0; at < many; at++) {
    const other = at + Math.floor(Math.random() * (rest.length - at));
    [rest[at], rest[other]] = [rest[other] as Piece, rest[at] as Piece];
  }
  return rest.slice(0, many);
}

/** The result for a piece that can't be counted: a token for every four bytes, or the bound by bytes. */
export function estimate(piece: Piece): Done {
  if (piece.kind === "bound") return { id: 0, count: piece.texts.reduce((all, text) => all + mostTokens(text), 0) };
  const bytes = piece.kind === "count" ? piece.texts.reduce((all, text) => all + Buffer.byteLength(text), 0) : 0;
  return { id: 0, count: Math.ceil(bytes / 4) };
}

/** The sum of the counts. */
export function sum(done: readonly Done[]): number {
  return done.reduce((all, { count = 0 }) => all + count, 0);
}
