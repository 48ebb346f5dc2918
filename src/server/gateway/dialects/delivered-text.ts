import type { TokenizerKind } from "../../pricing/bound.ts";
import { boundTextTokens, countTextTokens, TooBusyToCountError } from "../../pricing/tokens.ts";
import { eventData, eventsIn, parseData } from "./server-sent-events.ts";

/** Reads the texts that the model wrote in one event. `key` names the text that a piece continues. */
export type TextReader = (data: Record<string, unknown>, append: (key: string, text: unknown) => void) => void;

/**
 * Stores what was delivered, for counting its tokens. Events are copied as bytes and parsed
 * in batches of PARSE_BYTES into their texts, which saves time per event and memory.
 */
export class DeliveredText {
  /** A copy of events that are not parsed yet: keeping the network's chunks takes three times the memory of their bytes. */
  #pending: Buffer = Buffer.allocUnsafeSlow(FIRST_BYTES);
  #pendingBytes = 0;
  /** Upper bound of the texts' tokens, by their bytes. */
  #textBound = 0;
  /** By how many tokens a tokenizer's count has lowered that bound. */
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
    if (bytes > PARSE_BYTES) this.#parsePending();
  }

  /** Upper bound of the tokens of all that was added, in constant time: pending events count by all their bytes. */
  get bound(): number {
    return this.#textBound - this.#counted + this.#pendingBytes;
  }

  /** `bound` after parsing the pending events: only the bytes of texts count. */
  closerBound(): number {
    this.#parsePending();
    return this.bound;
  }

  /** What `closerBound` would be with one more event. */
  boundWith(event: string): number {
    const bound = this.closerBound();
    const data = eventData(event);
    const chunk = data === null ? null : parseData(data);
    if (chunk === null) return bound;
    let more = 0;
    const seen = new Set<string>();
    this.#read(chunk, (key, text) => {
      if (typeof text !== "string" || text === "") return;
      more += Buffer.byteLength(text) + (this.#texts.has(key) || seen.has(key) ? 0 : OVERHEAD_TOKENS);
      seen.add(key);
    });
    return bound + more;
  }

  /** The names of the texts so far. */
  names(): string[] {
    this.#parsePending();
    return [...this.#texts.keys()];
  }

  /** The model has written nothing yet. */
  isEmpty(): boolean {
    this.#parsePending();
    return this.#texts.size === 0;
  }

  /** The text of this name; empty when there is none. */
  text(key: string): string {
    this.#parsePending();
    return this.#texts.get(key) ?? "";
  }

  countTokens(): Promise<number> {
    this.#parsePending();
    return countTextTokens([...this.#texts.values()], { lane: this.#lane });
  }

  /** Lowers the bound by a count with a tokenizer of this kind; does nothing when the tokenizer is too busy. */
  async count(tokenizer: TokenizerKind): Promise<void> {
    this.#parsePending();
    const [bound, texts] = [this.#textBound, this.#texts.size];
    let tokens: number;
    try {
      tokens = (await boundTextTokens([...this.#texts.values()], tokenizer, this.#lane)) + texts * OVERHEAD_TOKENS;
    } catch (error) {
      if (error instanceof TooBusyToCountError) return;
      throw error;
    }
    // Texts that were added while the tokenizer ran stay in the bound by their bytes.
    this.#counted = Math.max(this.#counted, bound - tokens);
  }

  #parsePending(): void {
    if (this.#pendingBytes === 0) return;
    const text = this.#pending.toString("utf8", 0, this.#pendingBytes);
    if (this.#pending.length > FIRST_BYTES) this.#pending = Buffer.allocUnsafeSlow(FIRST_BYTES);
    this.#pendingBytes = 0;
    // Splitting at a string is faster than at a pattern, and is enough without CR.
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
    this.#textBound += Buffer.byteLength(text) + (before === undefined ? OVERHEAD_TOKENS : 0);
    this.#texts.set(key, (before ?? "") + text);
  };
}

/** Tokens that providers count beside each text, such as those that begin and end an answer or a function call. */
const OVERHEAD_TOKENS = 16;
const FIRST_BYTES = 1024;
const PARSE_BYTES = 32 * 1024;
