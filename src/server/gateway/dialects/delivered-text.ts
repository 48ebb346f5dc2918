import type { TokenizerKind } from "../../pricing/bound.ts";
import { boundTextTokens, countTextTokens, TooBusyToCountError } from "../../pricing/tokens.ts";
import { eventData, eventsIn, parseData } from "./server-sent-events.ts";

/** Hands out the texts that the model wrote in one event, each under the name of what it goes on with. */
export type TextReader = (data: Record<string, unknown>, append: (key: string, text: unknown) => void) => void;

/**
 * Remembers what was delivered, cheaply: as the bytes that went by, and every now
 * and then as the text in them, so that a long stream takes little memory.
 */
export class DeliveredText {
  /** Copies: a chunk from the network takes three times the memory of the bytes in it. */
  #pending: Buffer = Buffer.allocUnsafeSlow(FIRST_BYTES);
  #pendingBytes = 0;
  /** What the texts may be in tokens. */
  #textBound = 0;
  /** What of that bound was counted since, and is less. */
  #counted = 0;
  readonly #read: TextReader;
  readonly #note: (data: Record<string, unknown>) => void;
  readonly #lane: string;
  readonly #texts = new Map<string, string>();

  constructor(read: TextReader, note: (data: Record<string, unknown>) => void, lane: string) {
    this.#read = read;
    this.#note = note;
    this.#lane = lane;
  }

  add(events: Buffer): void {
    const bytes = this.#pendingBytes + events.length;
    if (bytes > this.#pending.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(bytes, 2 * this.#pending.length));
      this.#pending.copy(larger, 0, 0, this.#pendingBytes);
      this.#pending = larger;
    }
    events.copy(this.#pending, this.#pendingBytes);
    this.#pendingBytes = bytes;
    if (bytes > FOLD_BYTES) this.#fold();
  }

  /** Tokens of all that was added, at most. Takes no time. */
  get bound(): number {
    return this.#textBound - this.#counted + this.#pendingBytes;
  }

  /** The same without the bytes around the text. */
  closerBound(): number {
    this.#fold();
    return this.bound;
  }

  /** The same with one more event. */
  boundWith(event: string): number {
    const bound = this.closerBound();
    const data = eventData(event);
    const chunk = data === null ? null : parseData(data);
    if (chunk === null) return bound;
    let more = 0;
    const seen = new Set<string>();
    this.#read(chunk, (key, text) => {
      if (typeof text !== "string" || text === "") return;
      more += Buffer.byteLength(text) + (this.#texts.has(key) || seen.has(key) ? 0 : BEGINNING_TOKENS);
      seen.add(key);
    });
    return bound + more;
  }

  /** The names of the texts so far. */
  names(): string[] {
    this.#fold();
    return [...this.#texts.keys()];
  }

  /** The model has written nothing yet. */
  isEmpty(): boolean {
    this.#fold();
    return this.#texts.size === 0;
  }

  /** The text whose name begins so. */
  text(key: string): string {
    this.#fold();
    return this.#texts.get(key) ?? "";
  }

  countTokens(): Promise<number> {
    this.#fold();
    return countTextTokens([...this.#texts.values()], { lane: this.#lane });
  }

  /** Makes the bound closer, for a tokenizer of this kind, if there is time for it. */
  async count(tokenizer: TokenizerKind): Promise<void> {
    this.#fold();
    const [bound, texts] = [this.#textBound, this.#texts.size];
    let tokens: number;
    try {
      tokens = (await boundTextTokens([...this.#texts.values()], tokenizer, this.#lane)) + texts * BEGINNING_TOKENS;
    } catch (error) {
      if (error instanceof TooBusyToCountError) return;
      throw error;
    }
    // What was added meanwhile is in the bound by its bytes.
    this.#counted = Math.max(this.#counted, bound - tokens);
  }

  #fold(): void {
    if (this.#pendingBytes === 0) return;
    const text = this.#pending.toString("utf8", 0, this.#pendingBytes);
    if (this.#pending.length > FIRST_BYTES) this.#pending = Buffer.allocUnsafeSlow(FIRST_BYTES);
    this.#pendingBytes = 0;
    // Without the empty lines a split by a text is enough, and faster than one by a pattern.
    for (const event of text.includes("\r") ? eventsIn(text) : text.split("\n\n")) {
      const data = eventData(event);
      const chunk = data === null ? null : parseData(data);
      if (chunk === null) continue;
      this.#read(chunk, this.#append);
      this.#note(chunk);
    }
  }

  readonly #append = (key: string, text: unknown): void => {
    if (typeof text !== "string" || text === "") return;
    const before = this.#texts.get(key);
    this.#textBound += Buffer.byteLength(text) + (before === undefined ? BEGINNING_TOKENS : 0);
    this.#texts.set(key, (before ?? "") + text);
  };
}

/** Tokens around a text that are not in it: what begins and ends an answer, or a call of a function. */
const BEGINNING_TOKENS = 16;
const FIRST_BYTES = 1024;
const FOLD_BYTES = 32 * 1024;
