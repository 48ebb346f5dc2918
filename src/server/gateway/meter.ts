import type { TokenUsage } from "../pricing/price.ts";
import { countAnswerTokens } from "../pricing/tokens.ts";
import { appendMember } from "./json-text.ts";

/** Reads OpenAI's `usage` object. Null when there is none that counts; absent parts are zero. */
export function readUsage(usage: unknown): TokenUsage | null {
  if (typeof usage !== "object" || usage === null) return null;
  const { prompt_tokens, completion_tokens, total_tokens, prompt_tokens_details } = usage as Record<string, unknown>;
  if (!isCount(prompt_tokens)) return null;
  // Half a count is none. Embeddings have a total only.
  if (!isCount(completion_tokens) && !isCount(total_tokens)) return null;
  const details = (prompt_tokens_details ?? {}) as Record<string, unknown>;
  const completion = isCount(completion_tokens) ? completion_tokens : 0;
  return {
    promptTokens: prompt_tokens,
    cachedTokens: isCount(details.cached_tokens) ? details.cached_tokens : 0,
    cacheWriteTokens: isCount(details.cache_write_tokens) ? details.cache_write_tokens : 0,
    // Some providers leave hidden reasoning out of completion_tokens but not out of
    // total_tokens, and bill it as output.
    completionTokens: isCount(total_tokens) ? Math.max(completion, total_tokens - prompt_tokens) : completion,
  };
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 && value <= 2_147_483_647;
}

/**
 * Watches a provider's server-sent events on their way to the client. Bytes go
 * through as they came; only events that say how it ended are looked into:
 *
 * - the last chunk with a `finish_reason` waits until the usage is known, so that
 *   `quota` can ride on it;
 * - the usage chunk goes on only to a client that asked for it;
 * - `[DONE]` is sent again at the very end.
 */
export class StreamMeter {
  usage: TokenUsage | null = null;
  /** The provider said that it failed, in the stream itself. */
  failure: { message: string; status: number | null } | null = null;
  finished = false;
  done = false;
  readonly #includeUsage: boolean;
  /** Of an event whose end has not come yet: its parts, and their last bytes, in which its end may have begun. */
  #rest: Buffer[] = [];
  #restBytes = 0;
  #tail: Buffer = EMPTY;
  #finishEvent: string | null = null;
  #usageEvent: string | null = null;
  readonly #delivered = new DeliveredText();

  constructor(options: { includeUsage: boolean }) {
    this.#includeUsage = options.includeUsage;
  }

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
    if (this.#finishEvent === null && !MATTERS.test(events.toString("latin1"))) {
      if (this.usage !== null && HAS_CHOICES.test(events.toString("latin1"))) this.#goOn();
      this.#delivered.add(events);
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
    if (data !== null && data !== "[DONE]" && parseChunk(data) === null) return null;
    return this.#lookInto(last);
  }

  /** The events that were held back, with `quota` on them, and the end of the stream. */
  closing(quota: string): Buffer {
    const events = [this.#finishEvent, this.#usageEvent].filter((event) => event !== null);
    const last = events.map((event) => `data: ${appendMember(event, "quota", quota)}\n\n`).join("");
    return Buffer.from(`${last}data: [DONE]\n\n`);
  }

  /** Tokens of what went to the client, for a stream that broke off before the provider counted. */
  deliveredTokens(): Promise<number> {
    return this.#delivered.countTokens();
  }

  /** The same for a stream that came to its end: some providers put text on the chunk that was held back. */
  completedTokens(): Promise<number> {
    if (this.#finishEvent !== null) this.#delivered.add(Buffer.from(`data: ${this.#finishEvent}\n\n`));
    return this.#delivered.countTokens();
  }

  #keep(part: Buffer): void {
    this.#restBytes += part.length;
    if (this.#restBytes > LARGEST_EVENT_BYTES) this.failure = { message: "an event without an end", status: null };
    this.#rest.push(part);
    this.#tail = (part.length < SEPARATOR_BYTES ? Buffer.concat([this.#tail, part]) : part).subarray(1 - SEPARATOR_BYTES);
  }

  #lookInto(events: Buffer): Buffer | null {
    const text = events.toString("utf8");
    let through = "";
    for (const event of text.split(/(?<=\r?\n\r?\n)/)) {
      // Nothing counts after the end, whichever bytes happened to come with it.
      if (this.done || this.failure !== null) break;
      const data = eventData(event);
      if (data === null) {
        through += event;
        continue;
      }
      if (data === "[DONE]") {
        this.done = true;
        continue;
      }
      const chunk = parseChunk(data);
      if (chunk === null) {
        through += event;
        continue;
      }
      if (chunk.error !== undefined && chunk.error !== null) {
        this.failure = readFailure(chunk.error);
        continue;
      }
      const usage = readUsage(chunk.usage);
      if (usage !== null) this.usage = usage;
      const choices = Array.isArray(chunk.choices) ? (chunk.choices as { finish_reason?: unknown }[]) : [];
      if (choices.some((choice) => (choice?.finish_reason ?? null) !== null)) {
        // With several choices only the last one to finish waits.
        through += this.#releaseFinish();
        this.finished = true;
        this.#finishEvent = data;
      } else if (choices.length === 0 && usage !== null) {
        if (this.#includeUsage) this.#usageEvent = data;
      } else {
        if (choices.length > 0 && usage === null) this.#goOn();
        through += this.#releaseFinish();
        through += event;
      }
    }
    if (through === "") return null;
    const bytes = Buffer.from(through);
    this.#delivered.add(bytes);
    return bytes;
  }

  /** More text after a count: it was a count so far, not the last one. */
  #goOn(): void {
    if (!this.finished) this.usage = null;
  }

  #releaseFinish(): string {
    const event = this.#finishEvent;
    this.#finishEvent = null;
    return event === null ? "" : `data: ${event}\n\n`;
  }
}

const EMPTY = Buffer.alloc(0);

const LARGEST_EVENT_BYTES = 16 * 1024 * 1024;

/** The longest end of an event is CR LF CR LF. */
const SEPARATOR_BYTES = 4;

// In a JSON text these can't stand inside a string: there the quote is escaped.
const MATTERS = /"finish_reason"\s*:\s*"|"usage"\s*:\s*\{|\[DONE\]|"error"\s*:/;
const HAS_CHOICES = /"choices"\s*:\s*\[\s*\{/;

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
function eventData(event: string): string | null {
  const lines = event.split(/\r?\n/).filter((line) => line.startsWith("data:"));
  return lines.length === 0 ? null : lines.map((line) => line.slice(line[5] === " " ? 6 : 5)).join(" ");
}

function parseChunk(data: string): Record<string, unknown> | null {
  try {
    const chunk: unknown = JSON.parse(data);
    return typeof chunk === "object" && chunk !== null ? (chunk as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

function readFailure(error: unknown): { message: string; status: number | null } {
  const { message, code, status } = (typeof error === "object" && error !== null ? error : { message: error }) as Record<string, unknown>;
  const number = typeof status === "number" ? status : typeof code === "number" ? code : null;
  return { message: typeof message === "string" ? message : "", status: number };
}

/**
 * Remembers what was delivered, cheaply: as the bytes that went by, and every now
 * and then as the text in them, so that a long stream takes little memory.
 */
class DeliveredText {
  /** Copies: a chunk from the network takes three times the memory of the bytes in it. */
  #pending: Buffer = Buffer.allocUnsafeSlow(FIRST_BYTES);
  #pendingBytes = 0;
  readonly #texts = new Map<string, string>();

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

  async countTokens(): Promise<number> {
    this.#fold();
    let tokens = 0;
    for (const text of this.#texts.values()) tokens += await countAnswerTokens({ content: text });
    return tokens;
  }

  #fold(): void {
    const text = this.#pending.toString("utf8", 0, this.#pendingBytes);
    this.#pending = Buffer.allocUnsafeSlow(FIRST_BYTES);
    this.#pendingBytes = 0;
    for (const event of text.split(/\r?\n\r?\n/)) {
      const data = eventData(event);
      const chunk = data === null ? null : parseChunk(data);
      if (!Array.isArray(chunk?.choices)) continue;
      for (const choice of chunk.choices as { index?: unknown; delta?: unknown }[]) this.#read(choice);
    }
  }

  #read(choice: { index?: unknown; delta?: unknown }): void {
    if (typeof choice?.delta !== "object" || choice.delta === null) return;
    const delta = choice.delta as Record<string, unknown>;
    for (const field of TEXT_FIELDS) this.#append(`${choice.index} ${field}`, delta[field]);
    if (!Array.isArray(delta.tool_calls)) return;
    for (const call of delta.tool_calls as { index?: unknown; function?: { name?: unknown; arguments?: unknown } }[]) {
      this.#append(`${choice.index} call ${call?.index} name`, call?.function?.name);
      this.#append(`${choice.index} call ${call?.index} arguments`, call?.function?.arguments);
    }
  }

  #append(key: string, text: unknown): void {
    if (typeof text === "string" && text !== "") this.#texts.set(key, (this.#texts.get(key) ?? "") + text);
  }
}

const FIRST_BYTES = 1024;
const FOLD_BYTES = 32 * 1024;

/** Providers that show their reasoning bill it as output. */
const TEXT_FIELDS = ["content", "refusal", "reasoning_content", "reasoning"];
