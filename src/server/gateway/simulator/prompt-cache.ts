/** A prompt cache as providers have: tokens at the beginning of a conversation that was sent before cost less. */

import { createHash } from "node:crypto";
import { countPromptTokens } from "../../pricing/tokens.ts";
import type { ChatRequest } from "./request.ts";

/** How many of the prompt's tokens were read from the cache, and how many written into it. */
export interface Cached {
  read: number;
  written: number;
}

/** As at OpenAI, shorter prompts are not cached, and cached tokens are reported in steps. */
const LEAST_TOKENS = 1_024;
const STEP_TOKENS = 128;
const MOST_KEPT = 1_000;

/** Hashes of conversations that were sent, the latest last. */
const kept = new Set<string>();

/** Finds the longest beginning of the conversation that was sent before, and adds the whole conversation to the cache. */
export async function cached(request: ChatRequest, promptTokens: number): Promise<Cached> {
  if (request.cache === "none" || promptTokens < LEAST_TOKENS) return { read: 0, written: 0 };
  const { messages, tools } = request.prompt;
  const hash = createHash("sha256").update(JSON.stringify([request.model, tools ?? null]));
  let known = 0;
  let beginning = "";
  for (const [index, message] of messages.entries()) {
    hash.update(JSON.stringify(message) ?? "");
    beginning = hash.copy().digest("base64");
    if (kept.has(beginning)) known = index + 1;
  }
  keep(beginning);
  const tokens =
    known === messages.length ? promptTokens : known === 0 ? 0 : await countPromptTokens({ messages: messages.slice(0, known), tools });
  const read = tokens < LEAST_TOKENS ? 0 : Math.min(promptTokens, Math.floor(tokens / STEP_TOKENS) * STEP_TOKENS);
  // Anthropic bills cache writes; OpenAI lists no price for them with most models.
  return { read, written: request.cache === "automatic" ? 0 : promptTokens - read };
}

function keep(beginning: string): void {
  kept.delete(beginning);
  kept.add(beginning);
  if (kept.size > MOST_KEPT) kept.delete(kept.values().next().value as string);
}
