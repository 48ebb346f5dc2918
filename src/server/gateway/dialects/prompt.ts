import { mostTokens, tokenizerOf } from "../../pricing/bound.ts";
import type { Model } from "../../pricing/models.ts";
import { boundTextTokens, countTextTokens, TooBusyToCountError } from "../../pricing/tokens.ts";
import type { Body, CompletionRequest, Parts } from "./dialect.ts";
import { withoutStrings } from "./json-text.ts";

/** How many tokens a prompt has: a bound from above before it is bought, and a count where the provider gives none. */

export function noParts(): Parts {
  return { images: 0, audio: 0, imageData: [], unbounded: false };
}

/** An image as OpenAI's APIs take it: an address, or the data itself. */
export function countImage(url: unknown, parts: Parts): void {
  parts.images++;
  if (typeof url !== "string" || /^https?:/i.test(url)) return;
  // Providers take other things than images here, and bill them by the page or the second.
  if (/^data:image\//i.test(url)) parts.imageData.push(url);
  else parts.unbounded = true;
}

/**
 * What `mostTokens` says of the whole body: the JSON around a message is longer than what the provider adds to it.
 * Images are not billed by their bytes, so their data is taken out and their own bound put in.
 */
export function boundByBytes(text: string, parts: Parts, instructions: number, model: Model): number {
  if (parts.unbounded) return model.contextLength;
  const dataBytes = parts.imageData.reduce((sum, { length }) => sum + length, 0);
  const bytes = mostTokens(text) - dataBytes + 16;
  return Math.min(model.contextLength, bytes + instructions + parts.images * imageTokens(model));
}

/** The same by tokenizer: as `closerBound` says where the model has another than the one that is here. */
export const closerPromptBound = once(async (request, lane) => {
  const { model, parts, instructions } = request;
  if (parts.unbounded || parts.audio > 0) return request.promptBound;
  const tokens = await boundTokens(request, lane, withoutStrings(request.text, parts.imageData));
  if (tokens === null) return request.promptBound;
  return Math.min(request.promptBound, tokens + 16 + instructions + parts.images * imageTokens(model));
});

/** The tokens at most of a text that a request has not paid for yet; null when they can't be had now, or are not worth the time. */
export async function boundTokens(request: CompletionRequest, lane: string, text: string): Promise<number | null> {
  if (Buffer.byteLength(text) > MOST_BYTES_FOR_A_BOUND) return null;
  try {
    return await boundTextTokens([text], tokenizerOf(request.model), lane);
  } catch (error) {
    // By name: a page server may have loaded the tokenizer's files a second time.
    if ((error as Error).name !== TooBusyToCountError.name) throw error;
    uncounted.add(request);
    return null;
  }
}

/** More would keep the tokenizer for longer than an answer is worth. */
const MOST_BYTES_FOR_A_BOUND = 512 * 1024;

/** Whether there was no time for a closer bound of this prompt, so that what a wallet can't cover it may cover later. */
export function couldNotCount(request: CompletionRequest): boolean {
  return uncounted.has(request);
}

const uncounted = new WeakSet<CompletionRequest>();

/** Counts a request's prompt for one purpose once, however often it is asked. */
export function once(
  count: (request: CompletionRequest, lane: string) => Promise<number>,
): (request: CompletionRequest, lane: string) => Promise<number> {
  const counted = new WeakMap<CompletionRequest, Promise<number>>();
  return (request, lane) => {
    const known = counted.get(request) ?? count(request, lane);
    counted.set(request, known);
    return known;
  };
}

/** Tokens of the whole body but for the data of images, so that nothing that a model may be shown is left out. */
export async function tokensOfBody({ text, parts }: CompletionRequest, lane: string): Promise<number> {
  return (await countTextTokens(withoutStrings(text, parts.imageData), { lane })) + parts.images * LEAST_IMAGE_TOKENS;
}

/** Counts the texts that a model wrote, each on its own. */
export function countTexts(textsOf: (answer: Body) => string[]): (answer: Body, lane: string) => Promise<number> {
  return (answer, lane) => countTextTokens(textsOf(answer), { lane });
}

/** Some providers put a page of instructions in front of the tools. */
export function toolInstructions(body: Body): number {
  return Array.isArray(body.tools) && body.tools.length > 0 ? 1_000 : 0;
}

const LEAST_IMAGE_TOKENS = 85;

function imageTokens(model: Model): number {
  return model.maxTokensPerImage ?? 16_384;
}
