import { AppError } from "../../platform/errors.ts";
import { LARGE_JSON, parseJson } from "../../platform/json.ts";
import { findModel, type Model } from "../../pricing/models.ts";
import { countTextTokens, TooBusyToCountError } from "../../pricing/tokens.ts";
import type { CompletionRequest } from "./dialect.ts";
import { DuplicateMemberError, topLevelMembers, withoutStrings } from "./json-text.ts";

/** What the readers of all dialects do alike. */

export type Body = Readonly<Record<string, unknown>>;

/** Names that money depends on, by how they look to a lax parser. */
type PricedFields = ReadonlyMap<string, string>;

export function pricedFields(names: readonly string[]): PricedFields {
  return new Map(names.map((name) => [plainName(name), name]));
}

/**
 * Some providers' parsers take `maxTokens` or `Model` for the field they resemble,
 * so a look-alike could say another thing to the provider than to the ledger.
 */
const plainName = (name: string) => name.normalize("NFKC").toLowerCase().replaceAll("_", "");

export function parseBody(text: string, priced: PricedFields): Pick<CompletionRequest, "body" | "members"> {
  const body = parseJson(text, LARGE_JSON);
  if (!isObject(body)) throw wrong(null, "The request body must be a JSON object.");
  const names = Object.keys(body);
  if (names.length > MOST_FIELDS) throw wrong(null, `The request body has more than ${MOST_FIELDS} fields.`);
  for (const name of names) {
    // Bringing it into its plain form can make a name many times as long.
    if (name.length > LONGEST_FIELD)
      throw wrong(null, `The request body has a field whose name is longer than ${LONGEST_FIELD} characters.`);
    const known = priced.get(plainName(name));
    if (known !== undefined && known !== name) throw wrong(name, `The field \`${name}\` looks like \`${known}\`; write it that way.`);
  }
  try {
    return { body, members: topLevelMembers(text) };
  } catch (error) {
    if (error instanceof DuplicateMemberError) throw wrong(error.member, `The field \`${error.member}\` stands twice in the request body.`);
    throw error;
  }
}

/** No API has nearly as many, nor names nearly as long. */
const MOST_FIELDS = 1_000;
const LONGEST_FIELD = 256;

export function readModel(body: Body, kind: Model["kind"]): Model {
  if (typeof body.model !== "string" || body.model === "") throw wrong("model", "`model` must be the id of a model.");
  const model = findModel(body.model);
  if (model === undefined)
    throw new AppError("model_not_found", { message: `There is no model "${body.model.slice(0, 100)}".`, param: "model" });
  if (model.kind !== kind) {
    throw wrong(
      "model",
      kind === "chat" ? `${model.id} makes embeddings, not completions.` : `${model.id} makes completions, not embeddings.`,
    );
  }
  return model;
}

export function readMessages(body: Body): Body[] {
  if (!Array.isArray(body.messages) || body.messages.length === 0)
    throw wrong("messages", "`messages` must be a list with at least one message.");
  const messages = body.messages as unknown[];
  messages.forEach((message, index) => {
    if (!isObject(message)) throw wrong(`messages[${index}]`, `\`messages[${index}]\` must be an object.`);
    if (typeof message.role !== "string") throw wrong(`messages[${index}].role`, `\`messages[${index}].role\` must be a string.`);
  });
  return messages as Body[];
}

export function readBoolean(body: Body, field: string): boolean {
  const value = body[field] ?? false;
  if (typeof value !== "boolean") throw wrong(field, `\`${field}\` must be true or false.`);
  return value;
}

export function readObject(body: Body, field: string): Body | null {
  const value = body[field] ?? null;
  if (value !== null && !isObject(value)) throw wrong(field, `\`${field}\` must be an object.`);
  return value;
}

export function readInteger(body: Body, field: string, least: number, most: number): number | null {
  const value = body[field] ?? null;
  if (value === null) return null;
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < least || value > most) {
    throw wrong(
      field,
      `\`${field}\` must be a whole number of at least ${least}${most === Number.MAX_SAFE_INTEGER ? "" : ` and at most ${most}`}.`,
    );
  }
  return value;
}

export function isObject(value: unknown): value is Body {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function wrong(param: string | null, message: string): AppError {
  return new AppError("bad_request", { param, message });
}

/** What has no price of its own here can't be billed exactly, so it is refused rather than guessed. */
export function notAvailable(field: string, why: string): AppError {
  return wrong(field, `\`${field}\` is not available here: ${why}`);
}

/** What is written into OpenAI's prompt cache has one price on the list, that of the shortest time. */
export function refuseLongCache(options: unknown, param: string): void {
  if (isObject(options) && (options.ttl ?? "30m") !== "30m")
    throw notAvailable(param, "only the prompt cache's shortest time has a listed price.");
}

/** OpenAI's tiers that cost at most what is on the list. */
export function refuseOtherTiers(body: Body): void {
  const tier = body.service_tier ?? "auto";
  if (tier !== "auto" && tier !== "default" && tier !== "flex") throw notAvailable("service_tier", "this tier has prices of its own.");
}

/** What some providers add to OpenAI's fields and bill by other units. */
export function refuseExtras(body: Body): void {
  refusePriceChanging(body, ["search_parameters", "extra_body"]);
}

/** OpenRouter's ways to another model or host than the one that is priced. */
export function refuseRouting(body: Body, model: Model): void {
  if (model.provider === "openrouter") refusePriceChanging(body, ["models", "route", "plugins", "provider", "preset"]);
}

function refusePriceChanging(body: Body, fields: readonly string[]): void {
  for (const field of fields) if ((body[field] ?? null) !== null) throw notAvailable(field, "it can change what the request costs.");
}

/** What of a prompt is not text. */
export type Parts = {
  images: number;
  audio: number;
  /** Strings of the body that are data of images; they are not billed by their bytes. Such a string in the text of a message is. */
  imageData: string[];
  /** Something whose tokens nobody here can bound: a file that only the provider knows, a document of pages. */
  unbounded: boolean;
};

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
 * Every tokenizer in use makes at most one token of a byte, and the JSON around a
 * message is longer than what the provider adds to it. Images are not billed by
 * their bytes, so their data is taken out and their own bound put in.
 */
export function boundByBytes(text: string, parts: Parts, instructions: number, model: Model): number {
  if (parts.unbounded) return model.contextLength;
  const dataBytes = parts.imageData.reduce((sum, { length }) => sum + length, 0);
  const bytes = Buffer.byteLength(text) - dataBytes + 16;
  return Math.min(model.contextLength, bytes + instructions + parts.images * imageTokens(model));
}

/**
 * The same by tokenizer. Providers other than OpenAI cut text differently, so theirs
 * gets half as much again.
 */
export async function boundByTokens(request: CompletionRequest, lane: string, parts: Parts, instructions: number): Promise<number> {
  const { model } = request;
  if (parts.unbounded || parts.audio > 0) return request.promptBound;
  const tokens = await countForBound(request, lane, withoutStrings(request.text, parts.imageData));
  if (tokens === null) return request.promptBound;
  const margin = model.provider === "openai" ? 1.05 : 1.5;
  const bound = Math.ceil(tokens * margin) + 16 + instructions + parts.images * imageTokens(model);
  return Math.min(request.promptBound, bound);
}

/** The tokens of a text that a request has not paid for yet; null when they can't be had now, or are not worth the time. */
export async function countForBound(request: CompletionRequest, lane: string, text: string): Promise<number | null> {
  if (Buffer.byteLength(text) > MOST_BYTES_FOR_A_BOUND) return null;
  try {
    return await countTextTokens(text, { lane, purpose: "ask" });
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
export async function tokensOfBodyWith(parts: Parts, text: string, lane: string): Promise<number> {
  return (await countTextTokens(withoutStrings(text, parts.imageData), { lane })) + parts.images * LEAST_IMAGE_TOKENS;
}

/** Some providers put a page of instructions in front of the tools. */
export function toolInstructions(body: Body): number {
  return Array.isArray(body.tools) && body.tools.length > 0 ? 1_000 : 0;
}

const LEAST_IMAGE_TOKENS = 85;

function imageTokens(model: Model): number {
  return model.maxTokensPerImage ?? 16_384;
}
