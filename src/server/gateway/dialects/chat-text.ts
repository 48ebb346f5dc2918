import type { Body } from "./dialect.ts";
import { isObject } from "./read.ts";

/** What a model wrote in a message of a chat completion, or in a piece of one. */

/** Hands out each text under a name: the pieces of one text have the same. Does not throw on any JSON value. */
export function readWritten(message: unknown, append: (name: string, text: string) => void): void {
  if (!isObject(message)) return;
  // Mistral's reasoning models answer with a list of parts: https://docs.mistral.ai/capabilities/reasoning/
  for (const text of textsIn(message.content)) append("content", text);
  for (const text of textsIn(message.refusal)) append("refusal", text);
  for (const text of textsIn(reasoningOf(message))) append("reasoning", text);
  readCall("function", message.function_call, append);
  if (!Array.isArray(message.tool_calls)) return;
  for (const [at, call] of message.tool_calls.entries()) {
    if (isObject(call)) readCall(`call ${call.index ?? at}`, call.function ?? call.custom, append);
  }
}

/** The same as a list. */
export function writtenIn(message: unknown): string[] {
  const texts: string[] = [];
  readWritten(message, (_name, text) => texts.push(text));
  return texts;
}

/**
 * Providers that show their reasoning bill it as output. It has two names, and vLLM and OpenRouter send the same text
 * under both (https://docs.vllm.ai/en/latest/features/reasoning_outputs.html); it was made once.
 */
function reasoningOf({ reasoning, reasoning_content }: Body): unknown[] {
  return JSON.stringify(reasoning) === JSON.stringify(reasoning_content) ? [reasoning] : [reasoning, reasoning_content];
}

function readCall(name: string, call: unknown, append: (name: string, text: string) => void): void {
  if (!isObject(call)) return;
  for (const text of textsIn(call.name)) append(`${name} name`, text);
  const written = call.arguments ?? call.input;
  // Ollama has written arguments as an object.
  if (isObject(written)) append(`${name} arguments`, JSON.stringify(written));
  else for (const text of textsIn(written)) append(`${name} arguments`, text);
}

/** The text, that of a part, or of all parts of a list; bounded in depth by the parser of JSON. */
function textsIn(content: unknown): string[] {
  if (typeof content === "string") return content === "" ? [] : [content];
  if (Array.isArray(content)) return content.flatMap(textsIn);
  return isObject(content) ? textsIn(content.text ?? content.thinking ?? content.refusal) : [];
}
