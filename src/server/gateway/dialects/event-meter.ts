import type { AppError } from "../../platform/errors.ts";
import type { TokenUsage } from "../../pricing/price.ts";
import { countTextTokens } from "../../pricing/tokens.ts";

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
  protected readonly delivered: DeliveredText;

  /** `lane` is the app in whose turn the answer is counted, should the provider not count it. */
  constructor(readText: TextReader, lane: string) {
    this.delivered = new DeliveredText(readText, lane);
  }

  /** Whether whole events may go on without a look into each. */
  protected abstract passes(events: Buffer): boolean;

  /** Looks into one event; what of it goes to the client now. */
  protected abstract look(event: string, data: string): string;

  /** The events that were held back, with `quota`, and the end of the stream. */
  abstract closing(quota: string): Buffer;

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
    if (this.passes(events)) {
      this.delivered.add(events);
      return events;
    }
    return this.#lookInto(events);
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
    return this.#lookInto(last);
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

  #lookInto(events: Buffer): Buffer | null {
    let through = "";
    for (const event of events.toString("utf8").split(/(?<=\r?\n\r?\n)/)) {
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
  readonly #read: TextReader;
  readonly #lane: string;
  readonly #texts = new Map<string, string>();

  constructor(read: TextReader, lane: string) {
    this.#read = read;
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

  countTokens(): Promise<number> {
    this.#fold();
    return countTextTokens([...this.#texts.values()], { lane: this.#lane });
  }

  #fold(): void {
    const text = this.#pending.toString("utf8", 0, this.#pendingBytes);
    this.#pending = Buffer.allocUnsafeSlow(FIRST_BYTES);
    this.#pendingBytes = 0;
    for (const event of text.split(/\r?\n\r?\n/)) {
      const data = eventData(event);
      const chunk = data === null ? null : parseData(data);
      if (chunk !== null) this.#read(chunk, this.#append);
    }
  }

  readonly #append = (key: string, text: unknown): void => {
    if (typeof text === "string" && text !== "") this.#texts.set(key, (this.#texts.get(key) ?? "") + text);
  };
}

const FIRST_BYTES = 1024;
const FOLD_BYTES = 32 * 1024;
