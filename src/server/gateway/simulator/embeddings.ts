/** Embeddings by hashing words: texts that share words have similar vectors, so that apps can test a search. */

import { countTextTokens, decodeTokens } from "../../pricing/tokens.ts";
import { ApiError } from "./fields.ts";
import type { EmbeddingsRequest } from "./request.ts";

/** The body of the answer to an embeddings request. @throws ApiError 400 for inputs that are too long or are not valid tokens. */
export async function embeddingsJson(request: EmbeddingsRequest) {
  const size = request.dimensions ?? (/large/.test(request.model) ? 3072 : 1536);
  if (size * request.inputs.length > MOST_NUMBERS) {
    throw new ApiError(400, `The simulator makes at most ${MOST_NUMBERS} numbers a request. Send fewer inputs.`, { param: "input" });
  }
  const data: { object: "embedding"; index: number; embedding: number[] | string }[] = [];
  let tokens = 0;
  for (const [index, input] of request.inputs.entries()) {
    tokens += await countInput(input, index);
    const vector = embed(typeof input === "string" ? input : await textOf(input), size);
    data.push({
      object: "embedding",
      index,
      embedding: request.encodingFormat === "base64" ? base64(vector) : [...vector],
    });
  }
  return { object: "list", data, model: request.model, usage: { prompt_tokens: tokens, total_tokens: tokens } };
}

const MAX_INPUT_TOKENS = 8192;
/** Bounded, because the simulator shares its process with the gateway. */
const MOST_NUMBERS = 250_000;

/** How many numbers of the vector a word touches. */
const TOUCHED = 24;

async function countInput(input: string | number[], index: number): Promise<number> {
  const tokens = typeof input === "string" ? await countTextTokens(input) : input.length;
  if (tokens <= MAX_INPUT_TOKENS) return tokens;
  throw new ApiError(
    400,
    `This model's maximum context length is ${MAX_INPUT_TOKENS} tokens, however input ${index} has ${tokens} tokens. Please reduce it.`,
    {
      param: "input",
    },
  );
}

async function textOf(tokens: number[]): Promise<string> {
  try {
    return await decodeTokens(tokens);
  } catch (error) {
    if (error instanceof RangeError) throw new ApiError(400, `Invalid 'input': ${error.message}`, { param: "input" });
    throw error;
  }
}

/** A vector of length 1, in the precision it is sent in. */
function embed(text: string, size: number): Float32Array {
  const sums = new Float64Array(size);
  const words = text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
  for (const word of words.length > 0 ? words : [text]) {
    let state = hash(word);
    for (let i = 0; i < TOUCHED; i += 1) {
      state = next(state);
      const at = state % size;
      state = next(state);
      sums[at] = (sums[at] ?? 0) + state / 2 ** 31 - 1;
    }
  }
  const length = Math.hypot(...sums);
  if (length === 0) sums[0] = 1;
  return Float32Array.from(sums, (value) => value / (length || 1));
}

/** FNV-1a, 32 bits. */
function hash(text: string): number {
  let state = 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) state = Math.imul(state ^ text.charCodeAt(i), 0x01000193);
  return state >>> 0;
}

/** One step of the generator "mulberry32", as a whole number of 32 bits. */
function next(state: number): number {
  const stepped = (state + 0x6d2b79f5) | 0;
  let mixed = Math.imul(stepped ^ (stepped >>> 15), 1 | stepped);
  mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed);
  return (mixed ^ (mixed >>> 14)) >>> 0;
}

function base64(vector: Float32Array): string {
  const bytes = Buffer.alloc(vector.length * 4);
  for (const [index, value] of vector.entries()) bytes.writeFloatLE(value, index * 4);
  return bytes.toString("base64");
}
