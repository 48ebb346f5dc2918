import type { AppError } from "../../platform/errors.ts";
import type { TokenUsage } from "../../pricing/price.ts";
import { countTextTokens, TooBusyToCountError } from "../../pricing/tokens.ts";

/**
 * Watches a provider's server-sent events on their way to the client. Bytes go
 * through as they came; only events that may say how it ended are looked into.
 * What is the same in every dialect is here: finding events in bytes that are cut
 * anywhere, and remembering what was delivered.
 */
export abstract class EventMeter {
  usage: TokenUsage | null = null;
  /** What the provider said of the prompt before the answer began. */
  promptUsage: Omit<TokenUsage, "completionTokens"> | null = null;
  /** The provider said that it failed, in the stream itself. */
  failure: { message: string; status: number | null } | null = null;
  /** All was said. */
  finished = false;
  /** Nothing but the end of the stream is to come. */
  done = false;
  /** Of an event whose end has not come yet: its parts, and their last bytes, in which its end may have begun. */
  #rest: Buffer[] = [];
  #restBytes = 0;
  #tail: Buffer = EMPTY;
  /** No more output than this goes through; see `allow`. */
  #ceiling = Number.POSITIVE_INFINITY;
  /** Whole events that would be above it, oldest first. */
  #kept: string[] = [];
  protected readonly delivered: DeliveredText;

  /** `lane` is the app in whose turn the answer is counted, should the provider not count it. */
  constructor(readText: TextReader, lane: string) {
    this.delivered = new DeliveredText(readText, (data) => this.note(data), lane);
  }

  /** Whether whole events may go on without a look into each. */
  protected abstract passes(events: Buffer): boolean;

  /** Looks into one event; what of it goes to the client now. */
  protected abstract look(event: string, data: string): string;

  /** The events that were held back, with `quota`, and the end of the stream. */
  abstract closing(quota: string): Buffer;

  /**
   * The end of a stream that is ended here because nobody pays for more of it: what says so in
   * this API, the usage where it belongs, and `quota`.
   */
  abstract cutShort(usage: TokenUsage, quota: string): Buffer;

  /** Hears of every event that was delivered, in order and some time later: what `cutShort` needs to know. */
  protected note(_data: Record<string, unknown>): void {}

  /** The failure of a stream that has begun, in the way that this API's clients raise. */
  abstract failing(failure: AppError): Buffer;

  /** Takes what the provider sent; returns what may go to the client now, or null. */
  push(chunk: Buffer): Buffer | null {
    const end = endOfLastEvent(this.#tail.length === 0 ? chunk : Buffer.concat([this.#tail, chunk])) - this.#tail.length;
    if (end <= 0) {
      this.#keep(chunk);
      return null;
    }
    const whole = end === chunk.length ? chunk : chunk.subarray(0, end);
    const events = this.#rest.length === 0 ? whole : Buffer.concat([...this.#rest, whole]);
    this.#rest = [];
    this.#restBytes = 0;
    this.#tail = EMPTY;
    if (end < chunk.length) this.#keep(chunk.subarray(end));
    return this.#take(events);
  }

  /**
   * From now on no more goes through than may be `tokens` tokens of output, all choices
   * together. Returns what was kept back until now and may go.
   */
  allow(tokens: number): Buffer | null {
    this.#ceiling = tokens;
    if (this.#kept.length === 0) return null;
    const events = this.#kept;
    this.#kept = [];
    return this.#takeEach(events);
  }

  /** The same for what comes from now on; what is kept back stays so until `allow`. */
  raise(tokens: number): void {
    this.#ceiling = tokens;
  }

  /** Something is kept back; then nothing may be pushed before it went through. */
  get isFull(): boolean {
    return this.#kept.length > 0;
  }

  /** Whether what was delivered may be more than so many tokens. */
  mayExceed(tokens: number): boolean {
    return this.delivered.bound > tokens && this.delivered.closerBound() > tokens;
  }

  /** Tokens that were delivered at most: each is at least one byte of text. */
  outputBound(): number {
    return this.delivered.closerBound();
  }

  /** Makes that bound closer, by tokenizer, if there is time for it; `margin` is for models with another tokenizer. */
  async count(margin: number): Promise<void> {
    await this.delivered.count(margin);
  }

  /** What the provider sent after its last whole event: a stream may end without the empty line. */
  end(): Buffer | null {
    if (this.#rest.length === 0) return null;
    const last = Buffer.concat([...this.#rest, Buffer.from("\n\n")]);
    this.#rest = [];
    this.#tail = EMPTY;
    const data = eventData(last.toString("utf8"));
    // Half an event would only make the client's parser fail.
    if (data !== null && data !== "[DONE]" && parseData(data) === null) return null;
    const text = last.toString("utf8");
    if (this.#ceiling === Number.POSITIVE_INFINITY || this.delivered.boundWith(text) <= this.#ceiling) return this.#lookInto(last);
    this.#kept = [text];
    return null;
  }

  /** Tokens of what went to the client, for a stream that broke off before the provider counted. */
  deliveredTokens(): Promise<number> {
    return this.delivered.countTokens();
  }

  /** The same for a stream that came to its end, with what was held back. */
  completedTokens(): Promise<number> {
    return this.delivered.countTokens();
  }

  #keep(part: Buffer): void {
    this.#restBytes += part.length;
    if (this.#restBytes > LARGEST_EVENT_BYTES) this.failure = { message: "an event without an end", status: null };
    this.#rest.push(part);
    this.#tail = (part.length < SEPARATOR_BYTES ? Buffer.concat([this.#tail, part]) : part).subarray(1 - SEPARATOR_BYTES);
  }

  #take(events: Buffer): Buffer | null {
    // The bytes that went by are more than the text in them, so most need no closer look.
    if (this.delivered.bound + events.length <= this.#ceiling || this.delivered.closerBound() + events.length <= this.#ceiling)
      return this.#admit(events);
    return this.#takeEach(eventsIn(events));
  }

  #takeEach(events: readonly string[]): Buffer | null {
    const through: Buffer[] = [];
    for (const [index, event] of events.entries()) {
      if (this.done || this.failure !== null) break;
      if (this.delivered.boundWith(event) > this.#ceiling) {
        this.#kept = events.slice(index);
        break;
      }
      const passed = this.#admit(Buffer.from(event));
      if (passed !== null) through.push(passed);
    }
    return through.length === 0 ? null : Buffer.concat(through);
  }

  #admit(events: Buffer): Buffer | null {
    if (!this.passes(events)) return this.#lookInto(events);
    this.delivered.add(events);
    return events;
  }

  #lookInto(events: Buffer): Buffer | null {
    let through = "";
    for (const event of eventsIn(events)) {
      // Nothing counts after the end, whichever bytes happened to come with it.
      if (this.done || this.failure !== null) break;
      const data = eventData(event);
      through += data === null ? event : this.look(event, data);
    }
    if (through === "") return null;
    const bytes = Buffer.from(through);
    this.delivered.add(bytes);
    return bytes;
  }
}

const EMPTY = Buffer.alloc(0);

const LARGEST_EVENT_BYTES = 16 * 1024 * 1024;

/** The longest end of an event is CR LF CR LF. */
const SEPARATOR_BYTES = 4;

function eventsIn(events: Buffer): string[] {
  return events.toString("utf8").split(/(?<=\r?\n\r?\n)/);
}

/** Where the last empty line ends: everything before it is whole events. */
function endOfLastEvent(bytes: Buffer): number {
  const length = bytes.length;
  if (length >= 2 && bytes[length - 1] === 10 && bytes[length - 2] === 10) return length;
  return Math.max(after(bytes, "\n\n"), after(bytes, "\r\n\r\n"));
}

function after(bytes: Buffer, separator: string): number {
  const at = bytes.lastIndexOf(separator, undefined, "latin1");
  return at === -1 ? 0 : at + separator.length;
}

/**
 * The data of one event, on one line; null for comments and events without data.
 * Lines of an event are parted by a line feed, but what they make up here is JSON,
 * where a space means the same and goes out again on one line.
 */
export function eventData(event: string): string | null {
  const lines = event.split(/\r?\n/).filter((line) => line.startsWith("data:"));
  return lines.length === 0 ? null : lines.map((line) => line.slice(line[5] === " " ? 6 : 5)).join(" ");
}

export function parseData(data: string): Record<string, unknown> | null {
  try {
    const chunk: unknown = JSON.parse(data);
    return typeof chunk === "object" && chunk !== null ? (chunk as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

export function readFailure(error: unknown): NonNullable<EventMeter["failure"]> {
  const { message, code, status } = (typeof error === "object" && error !== null ? error : { message: error }) as Record<string, unknown>;
  const number = typeof status === "number" ? status : typeof code === "number" ? code : null;
  return { message: typeof message === "string" ? message : "", status: number };
}

/** A whole number that can be a count of tokens. */
export function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 && value <= 2_147_483_647;
}

/** Hands out the texts that the model wrote in one event, each under the name of what it goes on with. */
export type TextReader = (data: Record<string, unknown>, append: (key: string, text: unknown) => void) => void;

/**
 * Remembers what was delivered, cheaply: as the bytes that went by, and every now
 * and then as the text in them, so that a long stream takes little memory.
 */
class DeliveredText {
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

  /** The text whose name begins so. */
  text(key: string): string {
    this.#fold();
    return this.#texts.get(key) ?? "";
  }

  countTokens(): Promise<number> {
    this.#fold();
    return countTextTokens([...this.#texts.values()], { lane: this.#lane });
  }

  async count(margin: number): Promise<void> {
    this.#fold();
    const [bound, texts] = [this.#textBound, this.#texts.size];
    let counted: number;
    try {
      counted = await countTextTokens([...this.#texts.values()], { lane: this.#lane, purpose: "ask" });
    } catch (error) {
      if (error instanceof TooBusyToCountError) return;
      throw error;
    }
    const tokens = Math.ceil(counted * margin) + texts * BEGINNING_TOKENS;
    // What was added meanwhile is in the bound by its bytes.
    this.#counted = Math.max(this.#counted, bound - tokens);
  }

  #fold(): void {
    if (this.#pendingBytes === 0) return;
    const text = this.#pending.toString("utf8", 0, this.#pendingBytes);
    if (this.#pending.length > FIRST_BYTES) this.#pending = Buffer.allocUnsafeSlow(FIRST_BYTES);
    this.#pendingBytes = 0;
    for (const event of text.split(/\r?\n\r?\n/)) {
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
