import type { Body } from "./dialect.ts";
import { isObject } from "./read.ts";

/**
 * Reads the texts that a model wrote in a message of a chat completion, or in a delta of one. Pieces of one text get
 * the same name. Does not throw on any JSON value.
 */
export function readMessageTexts(message: unknown, append: (name: string, text: string) => void): void {
  if (!isObject(message)) return;
  // Mistral's reasoning models answer with a list of parts: https://docs.mistral.ai/capabilities/reasoning/
  appendTexts("content", message.content, append);
  appendTexts("refusal", message.refusal, append);
  appendTexts("reasoning", reasoningOf(message), append);
  if (message.function_call !== undefined) readCall("function", message.function_call, append);
  if (!Array.isArray(message.tool_calls)) return;
  for (const [at, call] of message.tool_calls.entries()) {
    if (isObject(call)) readCall(`call ${call.index ?? at}`, call.function ?? call.custom, append);
  }
}

/** The texts of a message, as a list. */
export function textsOfMessage(message: unknown): string[] {
  const texts: string[] = [];
  readMessageTexts(message, (_name, text) => texts.push(text));
  return texts;
}

/**
 * The reasoning of a message, which is billed as output. Providers call it `reasoning` or `reasoning_content`; vLLM and
 * OpenRouter send the same text under both names (https://docs.vllm.ai/en/latest/features/reasoning_outputs.html) and
 * bill it once.
 */
function reasoningOf({ reasoning, reasoning_content }: Body): unknown {
  if (reasoning === undefined || reasoning === null || reasoning === reasoning_content) return reasoning_content;
  if (reasoning_content === undefined || reasoning_content === null) return reasoning;
  return JSON.stringify(reasoning) === JSON.stringify(reasoning_content) ? reasoning : [reasoning, reasoning_content];
}

function readCall(name: string, call: unknown, append: (name: string, text: string) => void): void {
  if (!isObject(call)) return;
  appendTexts(`${name} name`, call.name, append);
  const written = call.arguments ?? call.input;
  // Some versions of Ollama send arguments as an object.
  if (isObject(written)) append(`${name} arguments`, JSON.stringify(written));
  else appendTexts(`${name} arguments`, written, append);
}

/** Reads a text, a part's text, or those of a list of parts. The JSON parser bounds the recursion. */
function appendTexts(name: string, content: unknown, append: (name: string, text: string) => void): void {
  if (typeof content === "string") {
    if (content !== "") append(name, content);
  } else if (Array.isArray(content)) for (const part of content) appendTexts(name, part, append);
  else if (isObject(content)) appendTexts(name, content.text ?? content.thinking ?? content.refusal, append);
}
