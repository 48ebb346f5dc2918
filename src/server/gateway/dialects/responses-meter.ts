import type { AppError } from "../../platform/errors.ts";
import type { TokenUsage } from "../../pricing/price.ts";
import { readUsage } from "./chat-meter.ts";
import { EventMeter, parseData, readFailure } from "./event-meter.ts";
import { appendMember, DuplicateMemberError, topLevelMembers, withMembers } from "./json-text.ts";

/** Reads the `usage` of a response, which has other names than that of a chat completion and says the same. */
export function readResponseUsage(usage: unknown): TokenUsage | null {
  if (typeof usage !== "object" || usage === null) return null;
  const { input_tokens, output_tokens, total_tokens, input_tokens_details } = usage as Record<string, unknown>;
  return readUsage({
    prompt_tokens: input_tokens,
    completion_tokens: output_tokens,
    total_tokens,
    prompt_tokens_details: input_tokens_details,
  });
}

/**
 * A stream of a response's events. All go through as they came but the last,
 * `response.completed` or `response.incomplete`, which has the whole response and its
 * usage: it waits until the bill is written, and `quota` rides on it and on its response.
 */
export class ResponsesMeter extends EventMeter {
  #lastEvent: { type: string; data: string } | null = null;
  /** What went by last, for the number of the event after it. */
  #before: Buffer | string = "";

  constructor(lane = "") {
    super(readText, lane);
  }

  closing(quota: string): Buffer {
    if (this.#lastEvent === null) return Buffer.alloc(0);
    const { type, data } = this.#lastEvent;
    return Buffer.from(`event: ${type}\ndata: ${appendMember(withQuotaOnResponse(data, quota), "quota", quota)}\n\n`);
  }

  failing({ code, message }: AppError): Buffer {
    const error = { type: "api_error", code, message, param: null };
    const event = { type: "error", code, message, param: null, sequence_number: this.#nextNumber(), error };
    return Buffer.from(`event: error\ndata: ${JSON.stringify(event)}\n\n`);
  }

  protected passes(events: Buffer): boolean {
    if (MATTERS.test(events.toString("latin1"))) return false;
    this.#before = events;
    return true;
  }

  protected look(event: string, data: string): string {
    const chunk = parseData(data);
    if (chunk?.type === "error" || (chunk?.error ?? null) !== null || IS_ERROR.test(event)) {
      this.failure = failureOf(chunk?.error ?? chunk);
      return "";
    }
    // Some servers end with what OpenAI's chat streams end with; this API does not.
    if (data === "[DONE]") return "";
    if (chunk === null) return event;
    const response = (chunk.response ?? {}) as { usage?: unknown; error?: unknown };
    if (chunk.type === "response.failed") {
      this.failure = failureOf(response.error);
      return "";
    }
    if (chunk.type === "response.completed" || chunk.type === "response.incomplete") {
      this.usage = readResponseUsage(response.usage);
      this.finished = true;
      this.done = true;
      this.#lastEvent = { type: chunk.type, data };
      return "";
    }
    this.#before = event;
    return event;
  }

  #nextNumber(): number {
    const numbers = this.#before.toString("latin1").match(/(?<="sequence_number"\s*:\s*)\d{1,9}/g);
    return numbers === null ? 0 : Number(numbers.at(-1)) + 1;
  }
}

// In a JSON text these can't stand inside a string: there the quote is escaped.
const MATTERS = /"type"\s*:\s*"(?:response\.(?:completed|incomplete|failed)|error)"|"error"\s*:\s*[{"]|\[DONE\]|^event: ?error/m;
const IS_ERROR = /^event: ?error\s*$/m;

function withQuotaOnResponse(data: string, quota: string): string {
  try {
    const members = topLevelMembers(data);
    const member = members.get("response");
    if (member === undefined || data[member.valueStart] !== "{") return data;
    return withMembers(data, members, { response: appendMember(data.slice(member.valueStart, member.valueEnd), "quota", quota) });
  } catch (error) {
    if (error instanceof DuplicateMemberError) return data;
    throw error;
  }
}

function failureOf(error: unknown): NonNullable<EventMeter["failure"]> {
  const isLimit = (error as { code?: unknown } | null | undefined)?.code === "rate_limit_exceeded";
  return { ...readFailure(error ?? ""), ...(isLimit ? { status: 429 } : {}) };
}

function readText(chunk: Record<string, unknown>, append: (key: string, text: unknown) => void): void {
  if (typeof chunk.type !== "string") return;
  const place = `${chunk.output_index} ${chunk.content_index} ${chunk.summary_index}`;
  if (chunk.type.endsWith(".delta")) append(`${chunk.type} ${place}`, chunk.delta);
  else if (chunk.type === "response.output_item.added")
    append(`name ${place}`, (chunk.item as { name?: unknown } | null | undefined)?.name);
}
