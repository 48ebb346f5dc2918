import type { AppError } from "../../platform/errors.ts";
import type { TokenizerKind } from "../../pricing/bound.ts";
import type { TokenUsage } from "../../pricing/price.ts";
import { DeliveredText, type TextReader } from "./delivered-text.ts";
import { isObject } from "./read.ts";
import { endOfLastEvent, eventData, eventsIn, isDone, parseData, SEPARATOR_BYTES } from "./server-sent-events.ts";

/** What tells the events of one API's streams apart, by their bytes: in a JSON text these can't stand inside a string, for there the quote is escaped. */
export type StreamShape = {
  readText: TextReader;
  /** An event that may say how the stream ends, or what was used. */
  matters: RegExp;
  /** An event with more of the answer, where an API counts before its end. */
  goesOn?: RegExp;
};

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
  /** The tier that served the request, in the provider's word; null while it does not say. */
  tier: unknown = null;
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
  readonly #matters: RegExp;
  readonly #goesOn: RegExp | undefined;

  /** `lane` is the app in whose turn the answer is counted, should the provider not count it. */
  constructor({ readText, matters, goesOn }: StreamShape, lane: string) {
    this.#matters = matters;
    this.#goesOn = goesOn;
    this.delivered = new DeliveredText(readText, (data) => this.note(data), lane);
  }

  /** Whether whole events may go on without a look into each. */
  protected passes(events: Buffer): boolean {
    const text = events.toString("latin1");
    if (this.#matters.test(text)) return false;
    if (this.usage !== null && this.#goesOn?.test(text)) this.goOn();
    return true;
  }

  /** Notes the failure that an event tells of, in whichever way; whether it does. */
  protected fails(event: string, chunk: Record<string, unknown> | null): boolean {
    const error = chunk?.error || null;
    if (error === null && chunk?.type !== "error" && chunk?.object !== "error" && !IS_ERROR.test(event)) return false;
    this.fail(error ?? chunk);
    return true;
  }

  protected fail(error: unknown): void {
    this.failure = readFailure(error);
  }

  /** More text after a count: it was a count so far, not the last one. */
  protected goOn(): void {
    if (!this.finished) this.usage = null;
  }

  /** Whether a stream that ends here, without an error, is a whole answer. */
  isComplete(): boolean {
    return this.done || this.finished;
  }

  /** Whether nothing of the answer itself is to come. */
  hasSaidAll(): boolean {
    return this.finished;
  }

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

  /** Makes that bound closer, by tokenizer, if there is time for it. */
  async count(tokenizer: TokenizerKind): Promise<void> {
    await this.delivered.count(tokenizer);
  }

  /** What the provider sent after its last whole event: a stream may end without the empty line. */
  end(): Buffer | null {
    if (this.#rest.length === 0) return null;
    const last = Buffer.concat([...this.#rest, Buffer.from("\n\n")]);
    this.#rest = [];
    this.#tail = EMPTY;
    const data = eventData(last.toString("utf8"));
    // Half an event would only make the client's parser fail.
    if (data !== null && !isDone(data) && parseData(data) === null) return null;
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
    const through: Buffer[] = [];
    for (const event of eventsIn(events)) {
      // Nothing counts after the end, whichever bytes happened to come with it.
      if (this.done || this.failure !== null) break;
      const data = eventData(event);
      const passed = data === null ? (this.fails(event, null) ? "" : event) : this.look(event, data);
      if (passed === "") continue;
      const bytes = Buffer.from(passed);
      // One by one: the next event may depend on whether anything was delivered.
      this.delivered.add(bytes);
      through.push(bytes);
    }
    return through.length === 0 ? null : Buffer.concat(through);
  }
}

const EMPTY = Buffer.alloc(0);

const LARGEST_EVENT_BYTES = 16 * 1024 * 1024;

/** An event that is named as one of an error. Not by `^` and `$`: for those U+2028, which may stand in a text, ends a line. */
const IS_ERROR = /(?:^|[\r\n])event: ?error[ \t]*(?:[\r\n]|$)/;

/** The names that Anthropic and OpenAI have for a rate limit. */
const RATE_LIMITS: readonly unknown[] = ["rate_limit_error", "rate_limit_exceeded"];

function readFailure(error: unknown): NonNullable<EventMeter["failure"]> {
  const { message, code, status, type } = isObject(error) ? error : { message: error };
  const number = [status, code].find((value) => typeof value === "number") as number | undefined;
  const isLimit = RATE_LIMITS.includes(code) || RATE_LIMITS.includes(type);
  return { message: typeof message === "string" ? message : "", status: isLimit ? 429 : (number ?? null) };
}
