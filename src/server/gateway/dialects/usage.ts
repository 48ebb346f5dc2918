import type { TokenUsage } from "../../pricing/price.ts";
import type { Body } from "./dialect.ts";
import { isObject } from "./read.ts";

/**
 * What providers say was used, in the names of each API. Null when there is no count that
 * holds: half a count is none. Absent parts are zero.
 */

/** A whole number that can be a count of tokens. */
export function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 && value <= 2_147_483_647;
}

const countOr0 = (value: unknown) => (isCount(value) ? value : 0);

/**
 * Of a chat completion, whole or a chunk of one. Kimi's streams have it in a choice
 * (https://platform.moonshot.ai/docs/api/chat), Groq's also in a member of its own
 * (https://console.groq.com/docs/api-reference).
 */
export function readChatUsage({ usage, choices, x_groq }: Body): TokenUsage | null {
  const own = readUsage(usage);
  if (own !== null) return own;
  const inChoices = Array.isArray(choices) ? choices.map((choice: { usage?: unknown } | null) => readUsage(choice?.usage)) : [];
  return inChoices.find((each) => each !== null) ?? readUsage(isObject(x_groq) ? x_groq.usage : undefined);
}

/** Of chat completions and embeddings; the latter have a total only. */
export function readUsage(usage: unknown): TokenUsage | null {
  if (!isObject(usage)) return null;
  return fromOpenAi(usage, usage.prompt_tokens, usage.completion_tokens, usage.prompt_tokens_details);
}

/** Of a response, which has other names than a chat completion and says the same. */
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
    // Some providers leave hidden reasoning out of the output but not out of the total, and bill it as output.
    completionTokens: Math.max(countOr0(output), countOr0(total) - prompt),
  };
}

/**
 * Where providers count what was read from the prompt cache, if not in the details of the prompt: DeepSeek
 * (https://api-docs.deepseek.com/guides/kv_cache), Kimi (https://platform.moonshot.ai/docs/api/chat) and Mistral
 * (https://docs.mistral.ai/api/endpoint/chat). The same count under two names is one count.
 */
const CACHED = ["prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens"];

/**
 * Of a whole message of Anthropic's. A request that it refused before any output is not billed, whatever its counts
 * say; one that it refused later is billed as it counts:
 * https://platform.claude.com/docs/en/test-and-evaluate/strengthen-guardrails/handle-streaming-refusals
 */
export function readMessageUsage({ usage, stop_reason, content }: Body): TokenUsage | null {
  const hasOutput = Array.isArray(content) && content.some(isOutput);
  return stop_reason === "refusal" && !hasOutput ? NOTHING_USED : readMessagesUsage(usage);
}

export const NOTHING_USED: TokenUsage = { promptTokens: 0, cachedTokens: 0, cacheWriteTokens: 0, completionTokens: 0 };

/** Whether a block of a message has anything that the model made. A block of text may be empty; another has a meaning by itself. */
export function isOutput(block: unknown): boolean {
  if (!isObject(block)) return false;
  if (block.type === "text") return (block.text ?? "") !== "";
  return block.type === "thinking" ? (block.thinking ?? "") !== "" : true;
}

/** Of Anthropic's messages, where `input_tokens` are those that have nothing to do with the prompt cache. */
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
