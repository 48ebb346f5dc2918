import type { AppError } from "../../platform/errors.ts";
import type { TokenUsage } from "../../pricing/price.ts";
import { EventMeter, type StreamShape } from "./event-meter.ts";
import { appendMember, DuplicateMemberError, topLevelMembers, withMembers } from "./json-text.ts";
import { isObject } from "./read.ts";
import { isDone, parseData } from "./server-sent-events.ts";
import { readResponseUsage } from "./usage.ts";

/**
 * A stream of OpenAI's Responses API. Events are passed on unchanged, except for the last,
 * `response.completed` or `response.incomplete`, which has the whole response with its usage. It
 * is kept back until the bill is written, and `quota` is added to it and to its response. OpenRouter
 * sends `response.done` instead, and some servers end after the last item; clients get
 * `response.completed` from both.
 */
export class ResponsesMeter extends EventMeter {
  #lastEvent: { type: string; data: string } | null = null;
  /** The response of the first event, and its items so far. */
  #begun: Record<string, unknown> = {};
  readonly #items = new Map<unknown, Item>();
  /** The events that were passed on last, from which the next `sequence_number` is read. */
  #before: Buffer | string = "";

  constructor(lane = "") {
    super(SHAPE, lane);
  }

  closing(quota: string): Buffer {
    const { type, data } = this.#lastEvent ?? this.#ownEnd();
    return Buffer.from(`event: ${type}\ndata: ${appendMember(withQuotaOnResponse(data, quota), "quota", quota)}\n\n`);
  }

  cutShort(usage: TokenUsage, quota: string): Buffer {
    let number = this.#nextNumber();
    let through = "";
    const send = (data: { type: string }) => {
      through += `event: ${data.type}\ndata: ${JSON.stringify({ ...data, sequence_number: number++ })}\n\n`;
    };
    const output: unknown[] = [];
    for (const [index, item] of this.#items) {
      if (item.open) {
        const place = { item_id: item.data.id, output_index: index };
        for (const [contentIndex, part] of item.parts) {
          if (!part.open) continue;
          part.data = this.#withText(part.data, `${index} ${contentIndex} undefined`);
          if (part.data.type === "output_text")
            send({ type: "response.output_text.done", ...place, content_index: contentIndex, text: part.data.text, logprobs: [] } as Event);
          else if (part.data.type === "refusal")
            send({ type: "response.refusal.done", ...place, content_index: contentIndex, refusal: part.data.refusal } as Event);
          send({ type: "response.content_part.done", ...place, content_index: contentIndex, part: part.data } as Event);
        }
        item.data = { ...this.#withInput(item.data, `${index} undefined undefined`), status: "incomplete" };
        if (item.parts.size > 0) item.data.content = [...item.parts.values()].map(({ data }) => data);
        send({ type: "response.output_item.done", output_index: index, item: item.data } as Event);
      }
      output.push(item.data);
    }
    const response = {
      ...this.#begun,
      status: "incomplete",
      incomplete_details: { reason: "max_output_tokens" },
      output,
      usage: {
        input_tokens: usage.promptTokens,
        input_tokens_details: { cached_tokens: usage.cachedTokens },
        output_tokens: usage.completionTokens,
        output_tokens_details: { reasoning_tokens: 0 },
        total_tokens: usage.promptTokens + usage.completionTokens,
      },
    };
    const type = "response.incomplete";
    this.#lastEvent = { type, data: JSON.stringify({ type, response, sequence_number: number }) };
    return Buffer.concat([Buffer.from(through), this.closing(quota)]);
  }

  /** A stream may end after its last item, if that item is not reasoning. */
  override isComplete(): boolean {
    if (super.isComplete()) return true;
    // `isEmpty` parses the pending events, which sets #items.
    if (this.delivered.isEmpty()) return false;
    const items = [...this.#items.values()];
    return items.length > 0 && items.every(({ open }) => !open) && items.at(-1)?.data.type !== "reasoning";
  }

  #ownEnd(): { type: string; data: string } {
    const type = "response.completed";
    const output = [...this.#items.values()].map(({ data }) => data);
    const response = { ...this.#begun, status: "completed", output };
    return { type, data: JSON.stringify({ type, response, sequence_number: this.#nextNumber() }) };
  }

  /** Stores the response and its items. Their texts are in `delivered`. */
  protected override note(chunk: Record<string, unknown>): void {
    const item = this.#items.get(chunk.output_index);
    switch (chunk.type) {
      case "response.created":
      case "response.in_progress":
        this.#begun = objectOf(chunk.response);
        break;
      case "response.output_item.added":
        this.#items.set(chunk.output_index, { data: objectOf(chunk.item), open: true, parts: new Map() });
        break;
      case "response.output_item.done":
        this.#items.set(chunk.output_index, { data: objectOf(chunk.item), open: false, parts: new Map() });
        break;
      case "response.content_part.added":
        item?.parts.set(chunk.content_index, { data: objectOf(chunk.part), open: true });
        break;
      case "response.content_part.done":
        item?.parts.set(chunk.content_index, { data: objectOf(chunk.part), open: false });
        break;
    }
  }

  #withText(part: Record<string, unknown>, place: string): Record<string, unknown> {
    if (part.type === "refusal") return { ...part, refusal: this.delivered.text(`response.refusal.delta ${place}`) };
    return part.type === "output_text" ? { ...part, text: this.delivered.text(`response.output_text.delta ${place}`) } : part;
  }

  #withInput(item: Record<string, unknown>, place: string): Record<string, unknown> {
    if (item.type === "function_call")
      return { ...item, arguments: this.delivered.text(`response.function_call_arguments.delta ${place}`) };
    return item.type === "custom_tool_call"
      ? { ...item, input: this.delivered.text(`response.custom_tool_call_input.delta ${place}`) }
      : item;
  }

  errorEvent({ code, message }: AppError): Buffer {
    const error = { type: "api_error", code, message, param: null };
    const event = { type: "error", code, message, param: null, sequence_number: this.#nextNumber(), error };
    return Buffer.from(`event: error\ndata: ${JSON.stringify(event)}\n\n`);
  }

  protected override passesUnparsed(events: Buffer): boolean {
    if (!super.passesUnparsed(events)) return false;
    this.#before = events;
    return true;
  }

  protected readEvent(event: string, data: string): string {
    const chunk = parseData(data);
    if (this.noteFailure(event, chunk)) return "";
    // Some servers send the [DONE] of chat completions, which this API does not have.
    if (isDone(data)) {
      this.done = this.isComplete();
      return "";
    }
    if (chunk === null) return event;
    const response = objectOf(chunk.response);
    const end =
      ENDS[chunk.type as string] ?? (chunk.type === "response.done" ? (ENDS[`response.${response.status}`] ?? "completed") : null);
    if (end === "failed") {
      this.fail(response.error);
      return "";
    }
    if (end !== null) {
      this.usage = readResponseUsage(response.usage);
      this.tier = response.service_tier ?? null;
      this.finished = true;
      this.done = true;
      const type = `response.${end}`;
      this.#lastEvent = {
        type,
        data: chunk.type === type ? data : withMembers(data, topLevelMembers(data), { type: JSON.stringify(type) }),
      };
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

type Event = { type: string };

/** One item of the output, and the parts of its content. */
type Item = {
  data: Record<string, unknown>;
  open: boolean;
  parts: Map<unknown, { data: Record<string, unknown>; open: boolean }>;
};

function objectOf(value: unknown): Record<string, unknown> {
  return isObject(value) ? value : {};
}

/** The types of last events, and the status that each stands for. */
const ENDS: Readonly<Record<string, string | undefined>> = {
  "response.completed": "completed",
  "response.incomplete": "incomplete",
  "response.failed": "failed",
  "response.cancelled": "failed",
};

const SHAPE: StreamShape = {
  readText,
  needsParsing: /"type"\s*:\s*"(?:response\.(?:completed|incomplete|failed|done)|error)"|"error"\s*:\s*[{"]|\[DONE\]|^event: ?error/m,
};

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

function readText(chunk: Record<string, unknown>, append: (key: string, text: unknown) => void): void {
  if (typeof chunk.type !== "string") return;
  const place = `${chunk.output_index} ${chunk.content_index} ${chunk.summary_index}`;
  if (chunk.type.endsWith(".delta")) append(`${chunk.type} ${place}`, chunk.delta);
  else if (chunk.type === "response.output_item.added")
    append(`name ${place}`, (chunk.item as { name?: unknown } | null | undefined)?.name);
}
