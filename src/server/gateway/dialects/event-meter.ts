import type { AppError } from "../../platform/errors.ts";
import type { TokenizerKind } from "../../pricing/bound.ts";
import type { TokenUsage } from "../../pricing/price.ts";
import { DeliveredText, type TextReader } from "./delivered-text.ts";
import { isObject } from "./read.ts";
import { endOfLastEvent, eventData, eventsIn, isDone, parseData, SEPARATOR_BYTES } from "./server-sent-events.ts";

/** Patterns that find events of one API by their bytes. They begin with a quote, which is escaped inside a JSON string, so the model's text does not match. */
export type StreamShape = {
  readText: TextReader;
  /** Matches events that may have the end of the answer, a usage or a failure, and so are parsed. */
  needsParsing: RegExp;
  /** Matches events that continue the answer. For APIs that report usage before the end. */
  continuesAnswer?: RegExp;
};

/**
 * Reads a provider's server-sent events on their way to the client. Bytes are passed
 * on unchanged; only events that `needsParsing` matches are parsed. This class has what all
 * dialects share: finding events in bytes that are cut anywhere, bounding the output, and
 * storing what was delivered.
 */
export abstract class EventMeter {
  usage: TokenUsage | null = null;
  /** The prompt's usage, from providers that report it before the answer. */
  promptUsage: Omit<TokenUsage, "completionTokens"> | null = null;
  /** A failure that the provider reported in the stream. */
  failure: { message: string; status: number | null } | null = null;
  /** The service tier that the provider reports; null until it does. */
  tier: unknown = null;
  /** The event that ends the answer has come. */
  finished = false;
  /** The last event of the stream has come. */
  done = false;
  /** The parts of an event whose end has not come, and their last bytes, in which its end may have begun. */
  #rest: Buffer[] = [];
  #restBytes = 0;
  #tail: Buffer = EMPTY;
  /** The output, in tokens, that may be passed on; see `allow`. */
  #ceiling = Number.POSITIVE_INFINITY;
  /** Whole events that would exceed the ceiling, oldest first. */
  #kept: string[] = [];
  protected readonly delivered: DeliveredText;
  readonly #needsParsing: RegExp;
  readonly #continuesAnswer: RegExp | undefined;

  /** `lane` is the app, for the tokenizer's fair queue when the provider reports no usage. */
  constructor({ readText, needsParsing, continuesAnswer }: StreamShape, lane: string) {
    this.#needsParsing = needsParsing;
    this.#continuesAnswer = continuesAnswer;
    this.delivered = new DeliveredText(readText, (data) => this.note(data), lane);
  }

  /** Whether events may be passed on without parsing each. */
  protected passesUnparsed(events: Buffer): boolean {
    const text = events.toString("latin1");
    if (this.#needsParsing.test(text)) return false;
    if (this.usage !== null && this.#continuesAnswer?.test(text)) this.discardUsage();
    return true;
  }

  /** Stores the failure that an event reports in any of the known forms; returns whether it reports one. */
  protected noteFailure(event: string, chunk: Record<string, unknown> | null): boolean {
    const error = chunk?.error || null;
    if (error === null && chunk?.type !== "error" && chunk?.object !== "error" && !IS_ERROR.test(event)) return false;
    this.fail(error ?? chunk);
    return true;
  }

  protected fail(error: unknown): void {
    this.failure = readFailure(error);
  }

  /** Discards a usage that was followed by more text: it was a running count. */
  protected discardUsage(): void {
    if (!this.finished) this.usage = null;
  }

  /** Whether a stream that ends here without an error is a complete answer. */
  isComplete(): boolean {
    return this.done || this.hasEndedAnswer();
  }

  /** Whether the answer has ended; usage may follow. */
  hasEndedAnswer(): boolean {
    return this.finished;
  }

  /** Reads one event; returns what of it goes to the client now. */
  protected abstract readEvent(event: string, data: string): string;

  /** The events that were kept back, with `quota`, and the end of the stream. */
  abstract closing(quota: string): Buffer;

  /**
   * The end of a stream whose payer has no more credits: the events with which this API ends
   * an answer at its output limit, the usage, and `quota`.
   */
  abstract cutShort(usage: TokenUsage, quota: string): Buffer;

  /** Called with every delivered event, in order, when its batch is parsed. Stores what `cutShort` needs. */
  protected note(_data: Record<string, unknown>): void {}

  /** The event by which this API's clients raise a failure inside a stream. */
  abstract errorEvent(failure: AppError): Buffer;

  /** Takes the provider's next bytes; returns what may go to the client now, or null. */
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
   * Sets the ceiling: the client gets at most `tokens` output tokens, over all choices.
   * Returns the events that were kept back and are below it now.
   */
  allow(tokens: number): Buffer | null {
    this.#ceiling = tokens;
    if (this.#kept.length === 0) return null;
    const events = this.#kept;
    this.#kept = [];
    return this.#takeEach(events);
  }

  /** Sets the ceiling for bytes to come; kept events stay until `allow`. */
  raise(tokens: number): void {
    this.#ceiling = tokens;
  }

  /** Events are kept back. Then `push` must not be called before `allow` has returned them all. */
  get isFull(): boolean {
    return this.#kept.length > 0;
  }

  /** Whether the delivered output may exceed so many tokens. */
  mayExceed(tokens: number): boolean {
    return this.delivered.bound > tokens && this.delivered.closerBound() > tokens;
  }

  /** Upper bound of the delivered tokens: each token is at least one byte of text. */
  outputBound(): number {
    return this.delivered.closerBound();
  }

  /** Lowers that bound by a tokenizer's count; does nothing when the tokenizer is too busy. */
  async count(tokenizer: TokenizerKind): Promise<void> {
    await this.delivered.count(tokenizer);
  }

  /** Takes the last event when the stream ends without the empty line after it. */
  end(): Buffer | null {
    if (this.#rest.length === 0) return null;
    const last = Buffer.concat([...this.#rest, Buffer.from("\n\n")]);
    this.#rest = [];
    this.#tail = EMPTY;
    const data = eventData(last.toString("utf8"));
    // Half an event would make the client's parser fail.
    if (data !== null && !isDone(data) && parseData(data) === null) return null;
    const text = last.toString("utf8");
    if (this.#ceiling === Number.POSITIVE_INFINITY || this.delivered.boundWith(text) <= this.#ceiling) return this.#readEach(last);
    this.#kept = [text];
    return null;
  }

  /** Tokens that went to the client, for a stream that ended before the provider's usage. */
  deliveredTokens(): Promise<number> {
    return this.delivered.countTokens();
  }

  /** The tokens of a complete stream, with those of kept-back events. */
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
    // An event has more bytes than its text has tokens, so most events need no parsing for this.
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
    if (!this.passesUnparsed(events)) return this.#readEach(events);
    this.delivered.add(events);
    return events;
  }

  #readEach(events: Buffer): Buffer | null {
    const through: Buffer[] = [];
    for (const event of eventsIn(events)) {
      // Events after the end are dropped, so that the result does not depend on where the bytes are cut.
      if (this.done || this.failure !== null) break;
      const data = eventData(event);
      const passed = data === null ? (this.noteFailure(event, null) ? "" : event) : this.readEvent(event, data);
      if (passed === "") continue;
      const bytes = Buffer.from(passed);
      // Added one at a time: reading the next event may depend on whether anything was delivered.
      this.delivered.add(bytes);
      through.push(bytes);
    }
    return through.length === 0 ? null : Buffer.concat(through);
  }
}

const EMPTY = Buffer.alloc(0);

const LARGEST_EVENT_BYTES = 16 * 1024 * 1024;

/** An event of type `error`. Without `^` and `$`, which match at U+2028, a character that texts may contain. */
const IS_ERROR = /(?:^|[\r\n])event: ?error[ \t]*(?:[\r\n]|$)/;

/** Anthropic's and OpenAI's codes for a rate limit. */
const RATE_LIMITS: readonly unknown[] = ["rate_limit_error", "rate_limit_exceeded"];

function readFailure(error: unknown): NonNullable<EventMeter["failure"]> {
  const { message, code, status, type } = isObject(error) ? error : { message: error };
  const number = [status, code].find((value) => typeof value === "number") as number | undefined;
  const isLimit = RATE_LIMITS.includes(code) || RATE_LIMITS.includes(type);
  return { message: typeof message === "string" ? message : "", status: isLimit ? 429 : (number ?? null) };
}
