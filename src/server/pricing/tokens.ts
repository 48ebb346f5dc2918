/**
 * Token counts as OpenAI's own tokenizer (o200k_base) makes them.
 *
 * The ranks are some 200,000 entries, so they are loaded on first use and kept.
 * Every function takes text as plain text: "<|endoftext|>" is seven ordinary tokens here,
 * never a control token, because users can type it.
 */

import { setImmediate as nextTurn } from "node:timers/promises";

/**
 * The number of tokens in `text`.
 * Never throws on any string; 1 MB takes at most about two seconds, in short turns.
 */
export async function countTextTokens(text: string): Promise<number> {
  let count = 0;
  await eachSlice(text, (tokens) => {
    count += tokens.length;
  });
  return count;
}

/** The tokens of `text`; `decodeTokens` gives the same text back (lone surrogates become U+FFFD). */
export async function encodeText(text: string): Promise<number[]> {
  const all: number[] = [];
  await eachSlice(text, (tokens) => {
    for (const token of tokens) all.push(token);
  });
  return all;
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
  const { ranks } = await tokenizer();
  return tokens.map((token) => {
    const bytes = ranks[token];
    if (bytes === undefined) throw new RangeError(`${token} is not a token of o200k_base.`);
    return typeof bytes === "string" ? Buffer.from(bytes, "utf8") : Uint8Array.from(bytes);
  });
}

/** What of a chat request the prompt's tokens depend on. Fields of an unknown shape count as nothing. */
export interface PromptBody {
  messages: readonly unknown[];
  tools?: unknown;
  response_format?: unknown;
}

/**
 * The prompt tokens of a chat request, by the rule OpenAI publishes in its cookbook
 * ("How to count tokens with tiktoken"): 3 per message, its role and content, a name and 1 more
 * for it, and 3 that prime the reply. What the cookbook leaves open is estimated: tools and a JSON schema
 * by their JSON text, an image, sound or file part at a flat 85 (a low-detail image).
 * An estimate for when a provider reports no usage; does not throw on any JSON value.
 */
export async function countPromptTokens(body: PromptBody): Promise<number> {
  let count = REPLY_PRIMING_TOKENS;
  for (const message of body.messages) count += await countMessage(message);
  if (Array.isArray(body.tools) && body.tools.length > 0) count += await countTextTokens(jsonText(body.tools));
  if (isRecord(body.response_format) && body.response_format.type === "json_schema") {
    count += await countTextTokens(jsonText(body.response_format.json_schema));
  }
  return count;
}

/** What of an assistant message was written by the model: text, a refusal, calls of functions. */
export interface WrittenAnswer {
  content?: string | null;
  refusal?: string | null;
  tool_calls?: readonly { function?: { name?: string; arguments?: string } }[];
}

/** The completion tokens of an answer, whole or broken off: its text, and each call's name and arguments. */
export async function countAnswerTokens(answer: WrittenAnswer): Promise<number> {
  let count = await countTextTokens(answer.content ?? "");
  count += await countTextTokens(answer.refusal ?? "");
  for (const call of answer.tool_calls ?? []) {
    count += await countTextTokens(call.function?.name ?? "");
    count += await countTextTokens(call.function?.arguments ?? "");
  }
  return count;
}

const TOKENS_PER_MESSAGE = 3;
const TOKENS_PER_NAME = 1;
const REPLY_PRIMING_TOKENS = 3;
const NON_TEXT_PART_TOKENS = 85;

/**
 * Merging byte pairs takes time quadratic in the length of a word, so text goes through in slices of this
 * many UTF-16 units. Only a word longer than half a slice can be cut (and then count a token more or less).
 */
const SLICE_LENGTH = 512;

/** After this many units, other work of the process gets a turn. */
const TURN_LENGTH = 16_384;

const PLAIN_TEXT = { allowedSpecial: new Set<string>(), disallowedSpecial: new Set<string>() };

async function eachSlice(text: string, take: (tokens: number[]) => void): Promise<void> {
  const { encode, words } = await tokenizer();
  let start = 0;
  let turnEnds = TURN_LENGTH;
  while (start < text.length) {
    const end = sliceEnd(text, start, words);
    take(encode(text.slice(start, end), PLAIN_TEXT));
    start = end;
    if (start >= turnEnds) {
      turnEnds = start + TURN_LENGTH;
      await nextTurn();
    }
  }
}

/**
 * Where the slice from `start` ends: where the tokenizer begins a new word anyway, if it can be.
 * The last two words in sight are left for the next slice, since what follows could make them one
 * ("don" and "'" become "don't"). A slice does not end in blanks, for how they are cut into words depends on
 * whether something follows.
 */
function sliceEnd(text: string, start: number, words: RegExp): number {
  const limit = start + SLICE_LENGTH;
  if (limit >= text.length) return text.length;
  const starts = Array.from(text.slice(start, limit).matchAll(words), (match) => match.index);
  const wordStart = starts.slice(1, -1).findLast((at) => !/\s/.test(text.charAt(start + at - 1)));
  if (wordStart !== undefined) return start + wordStart;
  const cutsPair = isHighSurrogate(text.charCodeAt(limit - 1));
  return cutsPair ? limit - 1 : limit;
}

function isHighSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdbff;
}

interface Tokenizer {
  encode: (text: string, options: typeof PLAIN_TEXT) => number[];
  /** What each token stands for: text, or bytes where it is not whole characters. */
  ranks: readonly (string | readonly number[])[];
  /** Matches one word, in the sense of o200k_base: the unit inside which bytes are merged. */
  words: RegExp;
}

let loaded: Promise<Tokenizer> | undefined;

function tokenizer(): Promise<Tokenizer> {
  loaded ??= loadTokenizer();
  return loaded;
}

async function loadTokenizer(): Promise<Tokenizer> {
  const [encoding, ranks, params] = await Promise.all([
    import("gpt-tokenizer/encoding/o200k_base"),
    import("gpt-tokenizer/bpeRanks/o200k_base"),
    import("gpt-tokenizer/encodingParams/constants"),
  ]);
  // The library remembers words it has merged. Its keys are slices of the texts they came from and would
  // keep whole prompts in memory.
  encoding.setMergeCacheSize(0);
  return { encode: encoding.encode, ranks: ranks.default, words: params.O200K_TOKEN_SPLIT_REGEX };
}

async function countMessage(message: unknown): Promise<number> {
  if (!isRecord(message)) return TOKENS_PER_MESSAGE;
  let count = TOKENS_PER_MESSAGE + (await countContent(message.content));
  if (typeof message.role === "string") count += await countTextTokens(message.role);
  if (typeof message.name === "string") count += TOKENS_PER_NAME + (await countTextTokens(message.name));
  for (const call of Array.isArray(message.tool_calls) ? message.tool_calls : []) {
    const called = isRecord(call) ? call.function : undefined;
    if (isRecord(called)) count += (await countContent(called.name)) + (await countContent(called.arguments));
  }
  return count;
}

async function countContent(content: unknown): Promise<number> {
  if (typeof content === "string") return countTextTokens(content);
  if (!Array.isArray(content)) return 0;
  let count = 0;
  for (const part of content) {
    if (!isRecord(part)) continue;
    const text = part.text ?? part.refusal;
    count += typeof text === "string" ? await countTextTokens(text) : NON_TEXT_PART_TOKENS;
  }
  return count;
}

function jsonText(value: unknown): string {
  try {
    return JSON.stringify(value) ?? "";
  } catch (error) {
    if (error instanceof RangeError) return leavesText(value);
    throw error;
  }
}

/** For a value nested deeper than JSON.stringify can go: its keys and plain values, one to a line. */
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
