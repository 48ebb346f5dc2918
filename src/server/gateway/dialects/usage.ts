import type { TokenUsage } from "../../pricing/price.ts";
import type { Body } from "./dialect.ts";
import { isObject } from "./read.ts";

/**
 * Readers of the usage that providers report. They return null when the prompt's or the
 * output's count is missing or no count. Other missing counts are zero.
 */

/** Whether a value can be a count of tokens: an integer that the database's type holds. */
export function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 && value <= 2_147_483_647;
}

const countOr0 = (value: unknown) => (isCount(value) ? value : 0);

/**
 * The usage of a chat completion or of a chunk. Kimi's streams have it in a choice
 * (https://platform.moonshot.ai/docs/api/chat), Groq's also in `x_groq`
 * (https://console.groq.com/docs/api-reference).
 */
export function readChatUsage({ usage, choices, x_groq }: Body): TokenUsage | null {
  const own = readUsage(usage);
  if (own !== null) return own;
  const inChoices = Array.isArray(choices) ? choices.map((choice: { usage?: unknown } | null) => readUsage(choice?.usage)) : [];
  return inChoices.find((each) => each !== null) ?? readUsage(isObject(x_groq) ? x_groq.usage : undefined);
}

/** The usage of a chat completion or of embeddings, which have no `completion_tokens`. */
export function readUsage(usage: unknown): TokenUsage | null {
  if (!isObject(usage)) return null;
  return fromOpenAi(usage, usage.prompt_tokens, usage.completion_tokens, usage.prompt_tokens_details);
}

/** The usage of a response: as in a chat completion, with other names. */
export function readResponseUsage(usage: unknown): TokenUsage | null {
  if (!isObject(usage)) return null;
  return fromOpenAi(usage, usage.input_tokens, usage.output_tokens, usage.input_tokens_details);
}

function fromOpenAi(usage: Body, prompt: unknown, output: unknown, details: unknown): TokenUsage | null {
  const total = usage.total_tokens;
  if (!isCount(prompt) || (!isCount(output) && !isCount(total))) return null;
  const { cached_tokens, cache_write_tokens } = isObject(details) ? details : {};
  return {
    promptTokens: prompt,
    cachedTokens: Math.max(...[cached_tokens, ...CACHED.map((name) => usage[name])].map(countOr0)),
    cacheWriteTokens: countOr0(cache_write_tokens),
    // Some providers count hidden reasoning only in the total, and bill it as output.
    completionTokens: Math.max(countOr0(output), countOr0(total) - prompt),
  };
}

/**
 * Members with the tokens read from the prompt cache, of providers that do not report them in `prompt_tokens_details`:
 * DeepSeek (https://api-docs.deepseek.com/guides/kv_cache), Kimi (https://platform.moonshot.ai/docs/api/chat) and Mistral
 * (https://docs.mistral.ai/api/endpoint/chat). When several have a count, the highest is taken, not the sum.
 */
const CACHED = ["prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens"];

/**
 * The usage of a whole message of Anthropic's. Anthropic does not bill a request that it refused before any output,
 * although its usage has counts; a request that it refused after some output is billed by its usage:
 * https://platform.claude.com/docs/en/test-and-evaluate/strengthen-guardrails/handle-streaming-refusals
 */
export function readMessageUsage({ usage, stop_reason, content }: Body): TokenUsage | null {
  const hasOutput = Array.isArray(content) && content.some(isOutput);
  return stop_reason === "refusal" && !hasOutput ? NOTHING_USED : readMessagesUsage(usage);
}

export const NOTHING_USED: TokenUsage = { promptTokens: 0, cachedTokens: 0, cacheWriteTokens: 0, completionTokens: 0 };

/** Whether a block of a message has output of the model. A block of text or thinking has none when it is empty. */
export function isOutput(block: unknown): boolean {
  if (!isObject(block)) return false;
  if (block.type === "text") return (block.text ?? "") !== "";
  return block.type === "thinking" ? (block.thinking ?? "") !== "" : true;
}

/** The usage of Anthropic's messages, whose `input_tokens` leave out tokens read from or written to the prompt cache. */
export function readMessagesUsage(usage: unknown): TokenUsage | null {
  if (!isObject(usage) || !isCount(usage.input_tokens) || !isCount(usage.output_tokens)) return null;
  const read = countOr0(usage.cache_read_input_tokens);
  const written = countOr0(usage.cache_creation_input_tokens);
  const { ephemeral_1h_input_tokens } = isObject(usage.cache_creation) ? usage.cache_creation : {};
  const long = Math.min(countOr0(ephemeral_1h_input_tokens), written);
  return {
    promptTokens: usage.input_tokens + read + written,
    cachedTokens: read,
    cacheWriteTokens: written - long,
    longCacheWriteTokens: long,
    completionTokens: usage.output_tokens,
  };
}
