import type { AppError } from "../../platform/errors.ts";
import type { TokenUsage } from "../../pricing/price.ts";
import type { Body } from "./dialect.ts";
import { EventMeter, type StreamShape } from "./event-meter.ts";
import { appendMember } from "./json-text.ts";
import { isObject } from "./read.ts";
import { parseData } from "./server-sent-events.ts";
import { isCount, isOutput, NOTHING_USED, readMessagesUsage } from "./usage.ts";

/**
 * A stream of Anthropic's Messages API. Events are passed on unchanged, except for the last,
 * `message_stop`, which is kept back until the bill is written. `quota` is a member of it and not
 * an event of its own, because clients refuse unknown types of events but ignore unknown members.
 * `message_start` has the prompt's usage, and each `message_delta` the usage so far.
 */
export class MessagesMeter extends EventMeter {
  #counts: Record<string, unknown> = {};
  /** The index of a content block that has begun and not ended. */
  #openBlock: unknown = null;
  /** A block other than empty text or thinking has begun. */
  #hasBlock = false;
  #stopData = '{"type":"message_stop"}';

  constructor(lane = "") {
    super(SHAPE, lane);
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
        // The client has the prompt's usage already when message_start had it.
        usage: { ...(this.promptUsage === null ? { input_tokens: usage.promptTokens } : {}), output_tokens: usage.completionTokens },
      },
    ];
    const last = events.map((data) => `event: ${data.type}\ndata: ${JSON.stringify(data)}\n\n`).join("");
    return Buffer.concat([Buffer.from(last), this.closing(quota)]);
  }

  protected override note({ type, index, content_block }: Record<string, unknown>): void {
    if (type === "content_block_start") {
      this.#openBlock = index;
      this.#hasBlock ||= isOutput(content_block);
    } else if (type === "content_block_stop") this.#openBlock = null;
  }

  errorEvent(failure: AppError): Buffer {
    const { code, message } = failure;
    return Buffer.from(`event: error\ndata: ${JSON.stringify({ type: "error", error: { type: errorType(failure), code, message } })}\n\n`);
  }

  protected readEvent(event: string, data: string): string {
    const chunk = parseData(data);
    if (this.noteFailure(event, chunk)) return "";
    if (chunk === null) return event;
    if (chunk.type === "message_stop") {
      this.finished = true;
      this.done = true;
      this.#stopData = data;
      return "";
    }
    if (chunk.type === "message_start") this.#readStart(chunk.message);
    else if (chunk.type === "message_delta") this.#readDelta(chunk);
    else if (chunk.type === "content_block_delta") this.discardUsage();
    return event;
  }

  #readStart(message: unknown): void {
    const { usage } = (message ?? {}) as { usage?: unknown };
    this.#add(usage);
    const counted = readMessagesUsage({ output_tokens: 0, ...this.#counts });
    // Some servers report the prompt's usage at the end, and zero here.
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
    // See `readMessageUsage`. `isEmpty` parses the pending events first, which sets #hasBlock.
    if (stop_reason === "refusal" && this.delivered.isEmpty() && !this.#hasBlock) this.usage = NOTHING_USED;
  }

  #add(usage: unknown): void {
    this.#counts = withCounts(this.#counts, usage);
  }
}

/**
 * Merges a later usage into an earlier one. A later count replaces the earlier, which may be an estimate. But a count
 * that is missing, null or zero in the later usage keeps its earlier value, also in nested objects, because some events
 * repeat the prompt's counts as zeros. `output_tokens` is replaced by zero too.
 */
function withCounts(counts: Body, usage: unknown): Record<string, unknown> {
  if (!isObject(usage)) return counts;
  const merged: Record<string, unknown> = { ...counts };
  for (const [name, value] of Object.entries(usage)) {
    const before = counts[name];
    if (isObject(value) && isObject(before)) merged[name] = withCounts(before, value);
    else if (value !== null && !(value === 0 && isCount(before) && name !== "output_tokens")) merged[name] = value;
  }
  return merged;
}

const SHAPE: StreamShape = {
  readText,
  needsParsing: /"type"\s*:\s*"(?:message_|error")|"error"\s*:\s*[{"]|^event: ?error/m,
  continuesAnswer: /"content_block_delta"/,
};

function errorType({ code }: AppError): string {
  if (code === "rate_limit") return "rate_limit_error";
  return code === "gateway_timeout" ? "timeout_error" : "api_error";
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
