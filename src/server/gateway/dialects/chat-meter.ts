import type { AppError } from "../../platform/errors.ts";
import type { TokenUsage } from "../../pricing/price.ts";
import { readMessageTexts } from "./chat-text.ts";
import { EventMeter, type StreamShape } from "./event-meter.ts";
import { appendMember } from "./json-text.ts";
import { isDone, parseData } from "./server-sent-events.ts";
import { readChatUsage } from "./usage.ts";

/**
 * A stream of chat completion chunks:
 *
 * - the last chunk with a `finish_reason` is kept back until the stream ends, so that `quota` can be added to it.
 *   Chunks that follow it, such as OpenRouter's usage, Azure's filter results or late text, go to the client before it.
 *   A stream without such a chunk gets one;
 * - the usage chunk, and any other chunk without choices, goes only to a client that asked for usage;
 * - `[DONE]` is kept back and sent last.
 */
export class ChatMeter extends EventMeter {
  readonly #includeUsage: boolean;
  readonly #choices: number;
  readonly #model: string;
  /** The indexes of choices with a `finish_reason`. */
  readonly #ended = new Set<unknown>();
  /** The members that all chunks share, such as `id`: a chunk without its choices and usage. */
  #head: Record<string, unknown> | null = null;
  #finishEvent: string | null = null;
  #usageEvent: string | null = null;

  constructor(options: { includeUsage: boolean; choices?: number; model?: string; lane?: string }) {
    super(SHAPE, options.lane ?? "");
    this.#includeUsage = options.includeUsage;
    this.#choices = options.choices ?? 1;
    this.#model = options.model ?? "";
  }

  closing(quota: string): Buffer {
    const ends = this.#finishEvent === null ? this.#ends(null) : [this.#finishEvent];
    const last = this.#usageEvent === null ? [] : [this.#usageEvent];
    return serialize([...ends.slice(0, -1), ...[...ends.slice(-1), ...last].map((event) => appendMember(event, "quota", quota))]);
  }

  cutShort(usage: TokenUsage, quota: string): Buffer {
    if (this.hasEndedAnswer()) return this.closing(quota);
    const events = [...(this.#finishEvent === null ? [] : [this.#finishEvent]), ...this.#ends("length")];
    events.push(appendMember(events.pop() as string, "quota", quota));
    if (this.#includeUsage) {
      const counted = {
        prompt_tokens: usage.promptTokens,
        completion_tokens: usage.completionTokens,
        total_tokens: usage.promptTokens + usage.completionTokens,
        prompt_tokens_details: { cached_tokens: usage.cachedTokens },
      };
      events.push(appendMember(this.#chunk([], { usage: counted }), "quota", quota));
    }
    return serialize(events);
  }

  /** A chunk that ends each open choice, with this reason; without one, with `tool_calls` after a call and else with `stop`. */
  #ends(reason: string | null): string[] {
    // `names` parses the pending events, which sets #head.
    const names = this.delivered.names();
    const open = this.#openChoices();
    return (open.length === 0 ? [0] : open).map((index) => {
      const fitting = names.some((name) => name.startsWith(`${index} call `)) ? "tool_calls" : "stop";
      return this.#chunk([{ index, delta: {}, logprobs: null, finish_reason: reason ?? fitting }]);
    });
  }

  #openChoices(): number[] {
    return Array.from({ length: this.#choices }, (_, index) => index).filter((index) => !this.#ended.has(index));
  }

  #chunk(choices: object[], rest: object = this.#includeUsage ? { usage: null } : {}): string {
    const head = this.#head ?? {
      id: `chatcmpl-${crypto.randomUUID()}`,
      object: "chat.completion.chunk",
      created: Math.floor(Date.now() / 1_000),
      model: this.#model,
    };
    return JSON.stringify({ ...head, choices, ...rest });
  }

  /** With several choices, the end of one is not the end of the answer. Called for every chunk. */
  override hasEndedAnswer(): boolean {
    return this.#ended.size >= this.#choices && this.#openChoices().length === 0;
  }

  protected override note(chunk: Record<string, unknown>): void {
    this.tier ??= chunk.service_tier ?? null;
    if (this.#head !== null) return;
    const { choices: _, usage: _usage, obfuscation: _padding, ...head } = chunk;
    this.#head = head;
  }

  errorEvent({ code, message }: AppError): Buffer {
    return Buffer.from(`data: ${JSON.stringify({ error: { code, message, type: "api_error", param: null } })}\n\n`);
  }

  /** Some providers send text on the last chunk, which is kept back. */
  override completedTokens(): Promise<number> {
    if (this.#finishEvent !== null) this.delivered.add(Buffer.from(`data: ${this.#finishEvent}\n\n`));
    return this.delivered.countTokens();
  }

  protected override passesUnparsed(events: Buffer): boolean {
    return this.#finishEvent === null && super.passesUnparsed(events);
  }

  protected readEvent(event: string, data: string): string {
    if (isDone(data)) {
      this.done = true;
      // Some providers send only [DONE] when they fail before the first text.
      if (!this.finished && this.delivered.isEmpty()) this.fail("an end without an answer");
      return "";
    }
    const chunk = parseData(data);
    if (this.noteFailure(event, chunk)) return "";
    if (chunk === null) return event;
    const choices = Array.isArray(chunk.choices) ? (chunk.choices as Choice[]) : [];
    const failed = choices.find(hasFailed);
    if (failed !== undefined) {
      this.fail(failed?.error ?? null);
      return "";
    }
    this.tier = chunk.service_tier ?? this.tier;
    const usage = readChatUsage(chunk);
    if (usage !== null) this.usage = usage;
    if (choices.some(hasEnded)) {
      for (const choice of choices) if (hasEnded(choice)) this.#ended.add(choice?.index ?? 0);
      // A usage that came before this chunk does not count its text.
      if (usage === null && !choices.every(isEmpty)) this.discardUsage();
      // With several choices only the last finish chunk is kept back.
      const released = this.#releaseFinish();
      this.finished = true;
      this.#finishEvent = data;
      return released;
    }
    const isAboutUsage = usage !== null && (choices.length === 0 || (this.finished && choices.every(isEmpty)));
    if (isAboutUsage && this.#includeUsage) {
      this.#usageEvent = data;
      return "";
    }
    // Azure sends filter results on a chunk without choices. Clients that read choices[0] of each chunk would fail.
    if (isAboutUsage || (Array.isArray(chunk.choices) && choices.length === 0 && !this.#includeUsage)) return "";
    if (choices.length > 0 && usage === null) this.discardUsage();
    // A chunk after the last finish chunk is sent before it, so that the finish chunk with quota stays last.
    return this.hasEndedAnswer() ? event : this.#releaseFinish() + event;
  }

  #releaseFinish(): string {
    const event = this.#finishEvent;
    this.#finishEvent = null;
    return event === null ? "" : `data: ${event}\n\n`;
  }
}

function serialize(events: readonly string[]): Buffer {
  return Buffer.from(`${events.map((event) => `data: ${event}\n\n`).join("")}data: [DONE]\n\n`);
}

type Choice = { index?: unknown; delta?: unknown; finish_reason?: unknown; error?: unknown } | null;

/** Whether a choice has a `finish_reason`. An empty one does not count: some servers send it on every chunk. */
function hasEnded(choice: Choice): boolean {
  return (choice?.finish_reason || null) !== null;
}

/**
 * Whether a choice reports a failure. OpenRouter adds `error` to the choice, a `finish_reason` of `error`, or both
 * (https://openrouter.ai/docs/api-reference/errors); DeepSeek has `insufficient_system_resource`
 * (https://api-docs.deepseek.com/api/create-chat-completion).
 */
export function hasFailed(choice: Choice): boolean {
  return (choice?.error || null) !== null || FAILED.includes(choice?.finish_reason);
}

const FAILED: readonly unknown[] = ["error", "insufficient_system_resource"];

/** Whether a choice delivers nothing: OpenRouter sends the usage with such a choice. */
function isEmpty(choice: Choice): boolean {
  return Object.entries(choice?.delta ?? {}).every(
    ([name, value]) => name === "role" || value === null || value === "" || (Array.isArray(value) && value.length === 0),
  );
}

const SHAPE: StreamShape = {
  readText,
  needsParsing:
    /"finish_reason"\s*:\s*"[^"]|"usage"\s*:\s*\{|"choices"\s*:\s*\[\s*\]|\[DONE\]|"error"\s*:|"object"\s*:\s*"error"|event: ?error/,
  continuesAnswer: /"choices"\s*:\s*\[\s*\{/,
};

function readText(chunk: Record<string, unknown>, append: (key: string, text: unknown) => void): void {
  if (!Array.isArray(chunk.choices)) return;
  for (const choice of chunk.choices as { index?: unknown; delta?: unknown }[])
    readMessageTexts(choice?.delta, (name, text) => append(`${choice.index} ${name}`, text));
}
