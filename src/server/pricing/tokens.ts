// Token counts by OpenAI's own tokenizer (o200k_base).
//
// A worker thread counts (`counter.ts`), with bounded queues: CountOptions says what happens when a text can't be counted
// in time. A text longer than 16,384 characters is counted in pieces, which changes nothing where blanks separate words,
// and at most a few tokens a piece elsewhere. Text is always plain text: "<|endoftext|>" is seven ordinary tokens and
// no control token, because users can type it.

import { processWide } from "../platform/process-wide.ts";
import { MARGINS, type TokenizerKind } from "./bound.ts";
import { type CountOptions, TokenCounter } from "./counter.ts";

export { type CountOptions, TooBusyToCountError } from "./counter.ts";

const counter = processWide("token counter", () => new TokenCounter());

/**
 * The number of tokens in `text`, or in all the texts of a list, counted outside of the main thread.
 * @throws TooBusyToCountError if `purpose` is `ask` and the queue is full or the time is over. With `bill` it never throws.
 */
export function countTextTokens(text: string | readonly string[], options?: CountOptions): Promise<number> {
  return counter.count(typeof text === "string" ? [text] : text, options);
}

/**
 * An upper bound of the texts' tokens with a tokenizer of this kind, found outside of the main thread.
 * @throws TooBusyToCountError when the queue is full or the time is over.
 */
export async function boundTextTokens(texts: readonly string[], kind: TokenizerKind, lane?: string): Promise<number> {
  if (kind !== "o200k") return counter.bound(texts, MARGINS[kind], lane);
  return Math.ceil((await counter.count(texts, { purpose: "ask", ...(lane === undefined ? {} : { lane }) })) * MARGINS.o200k);
}

/** The tokens of `text`; `decodeTokens` returns the same text (with U+FFFD for lone surrogates). */
export function encodeText(text: string): Promise<number[]> {
  return counter.encode(text);
}

/**
 * The text of `tokens`. Bytes that are not whole UTF-8 characters become U+FFFD.
 * @throws RangeError if a number is not a token of o200k_base.
 */
export async function decodeTokens(tokens: readonly number[]): Promise<string> {
  return Buffer.concat(await tokenBytes(tokens)).toString("utf8");
}

/**
 * The UTF-8 bytes of each token. One token may hold only a part of a character.
 * @throws RangeError if a number is not a token of o200k_base.
 */
export async function tokenBytes(tokens: readonly number[]): Promise<Uint8Array[]> {
  const all = await counter.bytes(tokens);
  return all.map((bytes, index) => {
    if (bytes === null) throw new RangeError(`${tokens[index]} is not a token of o200k_base.`);
    return bytes;
  });
}

/** The members of a chat request on which its prompt tokens depend. Members of an unknown shape count as nothing. */
export interface PromptBody {
  messages: readonly unknown[];
  tools?: unknown;
  response_format?: unknown;
}

/**
 * The prompt tokens of a chat request, by the rule OpenAI publishes in its cookbook
 * ("How to count tokens with tiktoken"): 3 per message, its role and content, a name and 1 more
 * for it, and 3 that prime the reply. The cookbook has no rule for tools and a JSON schema, which count as their JSON
 * text, nor for image, sound and file parts, which count as 85 tokens (a low-detail image). For answers whose
 * provider reports no usage. Takes any JSON value without throwing.
 */
export async function countPromptTokens(body: PromptBody, options?: CountOptions): Promise<number> {
  const found: Found = { texts: [], tokens: REPLY_PRIMING_TOKENS };
  for (const message of body.messages) collectMessage(message, found);
  if (Array.isArray(body.tools) && body.tools.length > 0) found.texts.push(jsonText(body.tools));
  if (isRecord(body.response_format) && body.response_format.type === "json_schema") {
    found.texts.push(jsonText(body.response_format.json_schema));
  }
  return found.tokens + (await countTextTokens(found.texts, options));
}

const TOKENS_PER_MESSAGE = 3;
const TOKENS_PER_NAME = 1;
const REPLY_PRIMING_TOKENS = 3;
const NON_TEXT_PART_TOKENS = 85;

/** Texts to be counted, and tokens that need no counting. */
type Found = { texts: string[]; tokens: number };

function collectMessage(message: unknown, found: Found): void {
  found.tokens += TOKENS_PER_MESSAGE;
  if (!isRecord(message)) return;
  collectContent(message.content, found);
  if (typeof message.role === "string") found.texts.push(message.role);
  if (typeof message.name === "string") {
    found.tokens += TOKENS_PER_NAME;
    found.texts.push(message.name);
  }
  for (const call of Array.isArray(message.tool_calls) ? message.tool_calls : []) {
    const called = isRecord(call) ? (call.function ?? call.custom) : undefined;
    if (!isRecord(called)) continue;
    collectContent(called.name, found);
    collectContent(called.arguments ?? called.input, found);
  }
}

function collectContent(content: unknown, found: Found): void {
  if (typeof content === "string") found.texts.push(content);
  if (!Array.isArray(content)) return;
  for (const part of content) {
    if (!isRecord(part)) continue;
    const text = part.text ?? part.refusal;
    if (typeof text === "string") found.texts.push(text);
    else found.tokens += NON_TEXT_PART_TOKENS;
  }
}

function jsonText(value: unknown): string {
  try {
    return JSON.stringify(value) ?? "";
  } catch (error) {
    if (error instanceof RangeError) return leavesText(value);
    throw error;
  }
}

/** For a value nested too deeply for JSON.stringify: its keys and plain values, one on each line. */
function leavesText(value: unknown): string {
  const lines: string[] = [];
  const open: unknown[] = [value];
  while (open.length > 0) {
    const next = open.pop();
    if (Array.isArray(next)) for (const item of next) open.push(item);
    else if (isRecord(next)) for (const [key, inner] of Object.entries(next)) open.push(key, inner);
    else lines.push(String(next));
  }
  return lines.join("\n");
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
