import type { AppError } from "../../platform/errors.ts";
import type { TokenUsage } from "../../pricing/price.ts";
import { EventMeter, isCount, parseData, readFailure } from "./event-meter.ts";
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

/**
 * A stream of chat completion chunks:
 *
 * - the last chunk with a `finish_reason` waits until the usage is known, so that
 *   `quota` can ride on it;
 * - the usage chunk goes on only to a client that asked for it;
 * - `[DONE]` is sent again at the very end.
 */
export class ChatMeter extends EventMeter {
  readonly #includeUsage: boolean;
  readonly #choices: number;
  readonly #model: string;
  /** Choices that said how they ended. */
  readonly #ended = new Set<unknown>();
  /** What all chunks have beside their choices. */
  #head: Record<string, unknown> | null = null;
  #finishEvent: string | null = null;
  #usageEvent: string | null = null;

  constructor(options: { includeUsage: boolean; choices?: number; model?: string; lane?: string }) {
    super(readText, options.lane ?? "");
    this.#includeUsage = options.includeUsage;
    this.#choices = options.choices ?? 1;
    this.#model = options.model ?? "";
  }

  closing(quota: string): Buffer {
    const events = [this.#finishEvent, this.#usageEvent].filter((event) => event !== null);
    const last = events.map((event) => `data: ${appendMember(event, "quota", quota)}\n\n`).join("");
    return Buffer.from(`${last}data: [DONE]\n\n`);
  }

  cutShort(usage: TokenUsage, quota: string): Buffer {
    const open = Array.from({ length: this.#choices }, (_, index) => index).filter((index) => !this.#ended.has(index));
    if (open.length === 0) return this.closing(quota);
    const head = this.#head ?? {
      id: `chatcmpl-${crypto.randomUUID()}`,
      object: "chat.completion.chunk",
      created: Math.floor(Date.now() / 1_000),
      model: this.#model,
    };
    const chunk = (choices: object[], rest: object = this.#includeUsage ? { usage: null } : {}) =>
      JSON.stringify({ ...head, choices, ...rest });
    const events = open.map((index) => chunk([{ index, delta: {}, logprobs: null, finish_reason: "length" }]));
    events.push(appendMember(events.pop() as string, "quota", quota));
    if (this.#includeUsage) {
      const counted = {
        prompt_tokens: usage.promptTokens,
        completion_tokens: usage.completionTokens,
        total_tokens: usage.promptTokens + usage.completionTokens,
        prompt_tokens_details: { cached_tokens: usage.cachedTokens },
      };
      events.push(appendMember(chunk([], { usage: counted }), "quota", quota));
    }
    return Buffer.from(`${this.#releaseFinish()}${events.map((event) => `data: ${event}\n\n`).join("")}data: [DONE]\n\n`);
  }

  protected override note({ choices: _, usage: _usage, obfuscation: _padding, ...head }: Record<string, unknown>): void {
    this.#head ??= head;
  }

  failing({ code, message }: AppError): Buffer {
    return Buffer.from(`data: ${JSON.stringify({ error: { code, message, type: "api_error", param: null } })}\n\n`);
  }

  /** Some providers put text on the chunk that was held back. */
  override completedTokens(): Promise<number> {
    if (this.#finishEvent !== null) this.delivered.add(Buffer.from(`data: ${this.#finishEvent}\n\n`));
    return this.delivered.countTokens();
  }

  protected passes(events: Buffer): boolean {
    if (this.#finishEvent !== null || MATTERS.test(events.toString("latin1"))) return false;
    if (this.usage !== null && HAS_CHOICES.test(events.toString("latin1"))) this.#goOn();
    return true;
  }

  protected look(event: string, data: string): string {
    if (data === "[DONE]") {
      this.done = true;
      return "";
    }
    const chunk = parseData(data);
    if (chunk === null) return event;
    if (chunk.error !== undefined && chunk.error !== null) {
      this.failure = readFailure(chunk.error);
      return "";
    }
    const usage = readUsage(chunk.usage);
    if (usage !== null) this.usage = usage;
    const choices = Array.isArray(chunk.choices) ? (chunk.choices as { index?: unknown; delta?: unknown; finish_reason?: unknown }[]) : [];
    if (choices.some((choice) => (choice?.finish_reason ?? null) !== null)) {
      for (const choice of choices) if ((choice?.finish_reason ?? null) !== null) this.#ended.add(choice.index ?? 0);
      // With several choices only the last one to finish waits.
      const released = this.#releaseFinish();
      this.finished = true;
      this.#finishEvent = data;
      return released;
    }
    if (usage !== null && (choices.length === 0 || (this.finished && choices.every(isEmpty)))) {
      if (this.#includeUsage) this.#usageEvent = data;
      return "";
    }
    if (choices.length > 0 && usage === null) this.#goOn();
    return this.#releaseFinish() + event;
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

/** OpenRouter sends the usage with an empty choice. */
function isEmpty(choice: { delta?: unknown } | null): boolean {
  return Object.entries(choice?.delta ?? {}).every(
    ([name, value]) => name === "role" || value === null || value === "" || (Array.isArray(value) && value.length === 0),
  );
}

// In a JSON text these can't stand inside a string: there the quote is escaped.
const MATTERS = /"finish_reason"\s*:\s*"|"usage"\s*:\s*\{|\[DONE\]|"error"\s*:/;
const HAS_CHOICES = /"choices"\s*:\s*\[\s*\{/;

/** Providers that show their reasoning bill it as output. */
const TEXT_FIELDS = ["content", "refusal", "reasoning_content", "reasoning"];

type ToolCall = {
  index?: unknown;
  function?: { name?: unknown; arguments?: unknown };
  custom?: { name?: unknown; input?: unknown };
} | null;

function readText(chunk: Record<string, unknown>, append: (key: string, text: unknown) => void): void {
  if (!Array.isArray(chunk.choices)) return;
  for (const choice of chunk.choices as { index?: unknown; delta?: unknown }[]) {
    if (typeof choice?.delta !== "object" || choice.delta === null) continue;
    const delta = choice.delta as Record<string, unknown>;
    for (const field of TEXT_FIELDS) append(`${choice.index} ${field}`, delta[field]);
    if (!Array.isArray(delta.tool_calls)) continue;
    for (const call of delta.tool_calls as ToolCall[]) {
      append(`${choice.index} call ${call?.index} name`, call?.function?.name ?? call?.custom?.name);
      append(`${choice.index} call ${call?.index} arguments`, call?.function?.arguments ?? call?.custom?.input);
    }
  }
}
