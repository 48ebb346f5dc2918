import type { AppError } from "../../platform/errors.ts";
import type { TokenUsage } from "../../pricing/price.ts";
import { EventMeter, isCount, parseData, readFailure } from "./event-meter.ts";
import { appendMember } from "./json-text.ts";

/**
 * Reads Anthropic's `usage` object, where `input_tokens` are those that have nothing
 * to do with the prompt cache. Null when there is none that counts; absent parts are zero.
 */
export function readMessagesUsage(usage: unknown): TokenUsage | null {
  if (typeof usage !== "object" || usage === null) return null;
  const { input_tokens, output_tokens, cache_read_input_tokens, cache_creation_input_tokens, cache_creation } = usage as Record<
    string,
    unknown
  >;
  // Half a count is none.
  if (!isCount(input_tokens) || !isCount(output_tokens)) return null;
  const read = isCount(cache_read_input_tokens) ? cache_read_input_tokens : 0;
  const written = isCount(cache_creation_input_tokens) ? cache_creation_input_tokens : 0;
  const { ephemeral_1h_input_tokens } = (cache_creation ?? {}) as Record<string, unknown>;
  const long = isCount(ephemeral_1h_input_tokens) ? Math.min(ephemeral_1h_input_tokens, written) : 0;
  return {
    promptTokens: input_tokens + read + written,
    cachedTokens: read,
    cacheWriteTokens: written - long,
    longCacheWriteTokens: long,
    completionTokens: output_tokens,
  };
}

/**
 * A stream of Anthropic's events. All go through as they came but the last,
 * `message_stop`, which waits until the bill is written, so that `quota` can be a member of it.
 * Clients that know the types of this stream as a closed list refuse an event of another type,
 * and let an unknown member of a known event pass.
 * `message_start` has the counts of the prompt, and each `message_delta` the counts so far.
 */
export class MessagesMeter extends EventMeter {
  #counts: Record<string, unknown> = {};
  /** The index of a content block that has begun and not ended. */
  #openBlock: unknown = null;
  #stopData = '{"type":"message_stop"}';

  constructor(lane = "") {
    super(readText, lane);
  }

  closing(quota: string): Buffer {
    return Buffer.from(`event: message_stop\ndata: ${appendMember(this.#stopData, "quota", quota)}\n\n`);
  }

  cutShort(usage: TokenUsage, quota: string): Buffer {
    const events = [
      ...(this.#openBlock === null ? [] : [{ type: "content_block_stop", index: this.#openBlock }]),
      {
        type: "message_delta",
        delta: { stop_reason: "max_tokens", stop_sequence: null },
        // The prompt's counts were in message_start, if the provider told them.
        usage: { ...(this.promptUsage === null ? { input_tokens: usage.promptTokens } : {}), output_tokens: usage.completionTokens },
      },
    ];
    const last = events.map((data) => `event: ${data.type}\ndata: ${JSON.stringify(data)}\n\n`).join("");
    return Buffer.concat([Buffer.from(last), this.closing(quota)]);
  }

  protected override note({ type, index }: Record<string, unknown>): void {
    if (type === "content_block_start") this.#openBlock = index;
    else if (type === "content_block_stop") this.#openBlock = null;
  }

  failing(failure: AppError): Buffer {
    const { code, message } = failure;
    return Buffer.from(`event: error\ndata: ${JSON.stringify({ type: "error", error: { type: errorType(failure), code, message } })}\n\n`);
  }

  protected passes(events: Buffer): boolean {
    const text = events.toString("latin1");
    if (MATTERS.test(text)) return false;
    if (this.usage !== null && HAS_DELTA.test(text)) this.#goOn();
    return true;
  }

  protected look(event: string, data: string): string {
    const chunk = parseData(data);
    if (chunk?.type === "error" || (chunk?.error ?? null) !== null || IS_ERROR.test(event)) {
      this.failure = failureOf(chunk?.error);
      return "";
    }
    if (chunk === null) return event;
    if (chunk.type === "message_stop") {
      this.finished = true;
      this.done = true;
      this.#stopData = data;
      return "";
    }
    if (chunk.type === "message_start") this.#readStart(chunk.message);
    else if (chunk.type === "message_delta") this.#readDelta(chunk);
    else if (chunk.type === "content_block_delta") this.#goOn();
    return event;
  }

  #readStart(message: unknown): void {
    const { usage } = (message ?? {}) as { usage?: unknown };
    this.#add(usage);
    const counted = readMessagesUsage({ output_tokens: 0, ...this.#counts });
    // Some servers count the prompt at the end, and have a zero here.
    if (counted === null || counted.promptTokens === 0) return;
    const { completionTokens: _none, ...prompt } = counted;
    this.promptUsage = prompt;
  }

  #readDelta(chunk: Record<string, unknown>): void {
    this.#add(chunk.usage);
    const { output_tokens } = (chunk.usage ?? {}) as { output_tokens?: unknown };
    if (isCount(output_tokens)) this.usage = readMessagesUsage(this.#counts);
    const { stop_reason } = (chunk.delta ?? {}) as { stop_reason?: unknown };
    if ((stop_reason ?? null) !== null) this.finished = true;
  }

  /** The last count holds: the first may be a guess. One that is not told again, or as zero, stays as it was. */
  #add(usage: unknown): void {
    if (typeof usage !== "object" || usage === null) return;
    for (const [name, value] of Object.entries(usage)) {
      const before = this.#counts[name];
      if (value !== null && !(isCount(before) && value === 0)) this.#counts[name] = value;
    }
  }

  /** More text after a count: it was a count so far, not the last one. */
  #goOn(): void {
    if (!this.finished) this.usage = null;
  }
}

// In a JSON text these can't stand inside a string: there the quote is escaped.
const MATTERS = /"type"\s*:\s*"(?:message_|error")|"error"\s*:\s*[{"]|^event: ?error/m;
const IS_ERROR = /^event: ?error\s*$/m;
const HAS_DELTA = /"content_block_delta"/;

function errorType({ code }: AppError): string {
  if (code === "rate_limit") return "rate_limit_error";
  return code === "gateway_timeout" ? "timeout_error" : "api_error";
}

function failureOf(error: unknown): NonNullable<EventMeter["failure"]> {
  const isLimit = (error as { type?: unknown } | null | undefined)?.type === "rate_limit_error";
  return { ...readFailure(error ?? ""), ...(isLimit ? { status: 429 } : {}) };
}

function readText(chunk: Record<string, unknown>, append: (key: string, text: unknown) => void): void {
  if (chunk.type === "content_block_start") {
    const { text, thinking, name } = (chunk.content_block ?? {}) as Record<string, unknown>;
    append(`${chunk.index} text`, text);
    append(`${chunk.index} thinking`, thinking);
    append(`${chunk.index} name`, name);
  } else if (chunk.type === "content_block_delta") {
    const { text, thinking, partial_json } = (chunk.delta ?? {}) as Record<string, unknown>;
    append(`${chunk.index} text`, text);
    append(`${chunk.index} thinking`, thinking);
    append(`${chunk.index} input`, partial_json);
  }
}
