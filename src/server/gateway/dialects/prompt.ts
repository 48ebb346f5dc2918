import { mostTokens, tokenizerOf } from "../../pricing/bound.ts";
import type { Model } from "../../pricing/models.ts";
import { boundTextTokens, countTextTokens, TooBusyToCountError } from "../../pricing/tokens.ts";
import type { Body, CompletionRequest, Parts } from "./dialect.ts";
import { withoutStrings } from "./json-text.ts";

export function noParts(): Parts {
  return { images: 0, audio: 0, imageData: [], unbounded: false };
}

/** Adds an image as OpenAI's APIs take it: a URL, or a data URL. */
export function countImage(url: unknown, parts: Parts): void {
  parts.images++;
  if (typeof url !== "string" || /^https?:/i.test(url)) return;
  // Providers take PDFs and videos here too, and bill them by the page or the second.
  if (/^data:image\//i.test(url)) parts.imageData.push(url);
  else parts.unbounded = true;
}

/**
 * An upper bound of the prompt's tokens by the bytes of the whole body: the JSON around a message has more bytes than
 * the provider adds tokens to it. Image data is replaced by the bound for images, which are not billed by their bytes.
 */
export function boundByBytes(text: string, parts: Parts, instructions: number, model: Model): number {
  if (parts.unbounded) return model.contextLength;
  const dataBytes = parts.imageData.reduce((sum, { length }) => sum + length, 0);
  const bytes = mostTokens(text) - dataBytes + 16;
  return Math.min(model.contextLength, bytes + instructions + parts.images * imageTokens(model));
}

/** The same bound by tokenizer, with a margin when the model has another tokenizer than this server. */
export const closerPromptBound = memoized(async (request, lane) => {
  const { model, parts, instructions } = request;
  if (parts.unbounded || parts.audio > 0) return request.promptBound;
  const tokens = await boundTokens(request, lane, withoutStrings(request.text, parts.imageData));
  if (tokens === null) return request.promptBound;
  return Math.min(request.promptBound, tokens + 16 + instructions + parts.images * imageTokens(model));
});

/** Upper bound of a text's tokens by tokenizer; null when the tokenizer is too busy (`couldNotCount`) or the text too long. */
export async function boundTokens(request: CompletionRequest, lane: string, text: string): Promise<number | null> {
  if (Buffer.byteLength(text) > MOST_BYTES_FOR_A_BOUND) return null;
  try {
    return await boundTextTokens([text], tokenizerOf(request.model), lane);
  } catch (error) {
    // By name, not by class: Next.js may have loaded the tokenizer's module a second time.
    if ((error as Error).name !== TooBusyToCountError.name) throw error;
    uncounted.add(request);
    return null;
  }
}

/** A longer text would occupy the tokenizer, which all requests share, for too long. */
const MOST_BYTES_FOR_A_BOUND = 512 * 1024;

/** Whether the tokenizer was too busy to bound this prompt. Then a refusal for credits may be wrong, and a retry may succeed. */
export function couldNotCount(request: CompletionRequest): boolean {
  return uncounted.has(request);
}

const uncounted = new WeakSet<CompletionRequest>();

/** Memoizes a count for each request. */
export function memoized(
  count: (request: CompletionRequest, lane: string) => Promise<number>,
): (request: CompletionRequest, lane: string) => Promise<number> {
  const counted = new WeakMap<CompletionRequest, Promise<number>>();
  return (request, lane) => {
    const known = counted.get(request) ?? count(request, lane);
    counted.set(request, known);
    return known;
  };
}

/** Counts the whole body without image data, because any member may be part of the prompt. */
export async function tokensOfBody({ text, parts }: CompletionRequest, lane: string): Promise<number> {
  return (await countTextTokens(withoutStrings(text, parts.imageData), { lane })) + parts.images * LEAST_IMAGE_TOKENS;
}

/** Counts the texts of an answer, each separately. */
export function countTexts(textsOf: (answer: Body) => string[]): (answer: Body, lane: string) => Promise<number> {
  return (answer, lane) => countTextTokens(textsOf(answer), { lane });
}

/** Upper bound of the tokens of instructions that some providers add to a request with tools. */
export function toolInstructions(body: Body): number {
  return Array.isArray(body.tools) && body.tools.length > 0 ? 1_000 : 0;
}

const LEAST_IMAGE_TOKENS = 85;

function imageTokens(model: Model): number {
  return model.maxTokensPerImage ?? 16_384;
}
