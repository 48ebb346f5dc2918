import { AppError } from "../platform/errors.ts";
import { findModel, type Model } from "../pricing/models.ts";
import { countPromptTokens, countTextTokens } from "../pricing/tokens.ts";
import { DuplicateMemberError, type JsonMember, topLevelMembers } from "./json-text.ts";

/** A request that the gateway understands as far as money goes; the rest is the provider's business. */
export type CompletionRequest = {
  kind: "chat" | "embedding";
  text: string;
  body: Readonly<Record<string, unknown>>;
  members: ReadonlyMap<string, JsonMember>;
  model: Model;
  stream: boolean;
  /** The client asked for a usage chunk of its own. */
  includeUsage: boolean;
  choices: number;
  /** Output tokens of one choice that the request names, at most the model's; null when it names none. */
  askedOutput: number | null;
  /** Fields that carry that limit. */
  outputLimitFields: string[];
  /** No prompt of this body has more tokens. */
  promptBound: number;
  /** Text that the request predicts, in bytes: what the model rejects of it is billed as output. */
  predictionBytes: number;
  /** What it costs can't be counted from the outside: there is hidden reasoning, or more than plain text. */
  onlyProviderCounts: boolean;
};

/** Parses a body. Throws `bad_request` with the field at fault, or `model_not_found`. */
export function readChatRequest(text: string): CompletionRequest {
  const { body, members } = parseObject(text);
  const model = readModel(body, "chat");
  if (!Array.isArray(body.messages) || body.messages.length === 0)
    throw wrong("messages", "`messages` must be a list with at least one message.");
  const messages = body.messages as unknown[];
  messages.forEach((message, index) => {
    if (!isObject(message)) throw wrong(`messages[${index}]`, `\`messages[${index}]\` must be an object.`);
    if (typeof message.role !== "string") throw wrong(`messages[${index}].role`, `\`messages[${index}].role\` must be a string.`);
  });
  const stream = readBoolean(body, "stream");
  const streamOptions = readObject(body, "stream_options");
  const choices = readInteger(body, "n", 1, 128) ?? 1;
  const limits = ["max_tokens", "max_completion_tokens"].filter((field) => (body[field] ?? null) !== null);
  const asked = limits.map((field) => readInteger(body, field, 1, Number.MAX_SAFE_INTEGER) as number);
  refuseWhatHasNoPrice(body, model);
  return {
    kind: "chat",
    text,
    body,
    members,
    model,
    stream,
    includeUsage: stream && streamOptions?.include_usage === true,
    choices,
    askedOutput: asked.length === 0 ? null : Math.min(...asked, model.maxOutputTokens),
    outputLimitFields: limits,
    promptBound: promptBound(text, messages, body, model),
    predictionBytes: predictionBytes(text, members),
    onlyProviderCounts: model.reasoning === true || hasMoreThanText(messages, body),
  };
}

export function readEmbeddingsRequest(text: string): CompletionRequest {
  const { body, members } = parseObject(text);
  const model = readModel(body, "embedding");
  if (!isEmbeddable(body.input)) throw wrong("input", "`input` must be text, a list of texts, or tokens.");
  return {
    kind: "embedding",
    text,
    body,
    members,
    model,
    stream: false,
    includeUsage: false,
    choices: 1,
    askedOutput: 0,
    outputLimitFields: [],
    // Each input has a context of its own, so the model's does not bound their sum.
    promptBound: Buffer.byteLength(text),
    predictionBytes: 0,
    onlyProviderCounts: false,
  };
}

/** A text, texts, tokens, or lists of tokens; what else a provider may embed has prices of its own. */
function isEmbeddable(input: unknown): boolean {
  if (!Array.isArray(input)) return typeof input === "string" && input !== "";
  const isToken = (value: unknown) => Number.isSafeInteger(value);
  const kinds = [(value: unknown) => typeof value === "string", isToken, (value: unknown) => Array.isArray(value) && value.every(isToken)];
  return input.length > 0 && kinds.some((isKind) => input.every(isKind));
}

/**
 * A closer bound than `promptBound`, by tokenizer. Providers other than OpenAI cut
 * text differently, so theirs gets half as much again. Takes about 1 ms per 5 kB.
 */
export async function closerPromptBound(request: CompletionRequest): Promise<number> {
  const { body, model } = request;
  if (request.kind === "embedding")
    return Math.min(request.promptBound, Math.ceil((await countTextTokens(JSON.stringify(body.input))) * 1.5));
  const parts = countParts(body.messages as unknown[]);
  if (parts.unbounded || parts.audio > 0) return request.promptBound;
  const exact = model.provider === "openai";
  const bound =
    Math.ceil((await tokensOfBody(request)) * (exact ? 1.05 : 1.5)) + 16 + toolPromptTokens(body) + parts.images * imageTokens(model);
  return Math.min(request.promptBound, bound);
}

/**
 * The prompt's tokens, as near as they can be told without the provider: by OpenAI's
 * rule for plain messages, else by the text of the whole body, so that nothing that
 * a model may be shown is left out.
 */
export async function countPrompt(request: CompletionRequest): Promise<number> {
  const { body } = request;
  if (request.kind === "embedding") return countTextTokens(JSON.stringify(body.input));
  if (!request.onlyProviderCounts)
    return countPromptTokens({ messages: body.messages as unknown[], tools: body.tools, response_format: body.response_format });
  const parts = countParts(body.messages as unknown[]);
  return (await tokensOfBody(request)) + parts.images * LEAST_IMAGE_TOKENS;
}

/** Every member of the body counts, but for the data of images. */
function tokensOfBody({ text }: CompletionRequest): Promise<number> {
  return countTextTokens(text.replace(IMAGE_DATA, ""));
}

const IMAGE_DATA = /(?<=data:image\/[\w.+-]{1,40};base64,)[A-Za-z0-9+/=]+/g;
const LEAST_IMAGE_TOKENS = 85;

function parseObject(text: string): Pick<CompletionRequest, "body" | "members"> {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    throw wrong(null, "The request body is not valid JSON.");
  }
  if (!isObject(body)) throw wrong(null, "The request body must be a JSON object.");
  for (const name of Object.keys(body)) {
    const known = PRICED_FIELDS.get(plainName(name));
    if (known !== undefined && known !== name) throw wrong(name, `The field \`${name}\` looks like \`${known}\`; write it that way.`);
  }
  try {
    return { body, members: topLevelMembers(text) };
  } catch (error) {
    if (error instanceof DuplicateMemberError) throw wrong(error.member, `The field \`${error.member}\` stands twice in the request body.`);
    throw error;
  }
}

/**
 * Some providers' parsers take `maxTokens` or `Model` for the field they resemble,
 * so a look-alike could say another thing to the provider than to the ledger.
 */
const plainName = (name: string) => name.normalize("NFKC").toLowerCase().replaceAll("_", "");
const PRICED_FIELDS = new Map(
  [
    "model",
    "messages",
    "input",
    "n",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "service_tier",
    "tools",
    "functions",
    "prediction",
    "modalities",
    "audio",
    "web_search_options",
  ].map((name) => [plainName(name), name]),
);

function readModel(body: Readonly<Record<string, unknown>>, kind: Model["kind"]): Model {
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

/**
 * What a provider bills by other units than the price list has can't be billed
 * exactly, so it is refused rather than guessed.
 */
function refuseWhatHasNoPrice(body: Readonly<Record<string, unknown>>, model: Model): void {
  const no = (field: string, why: string) => wrong(field, `\`${field}\` is not available here: ${why}`);
  const tier = body.service_tier ?? "auto";
  if (tier !== "auto" && tier !== "default" && tier !== "flex") throw no("service_tier", "this tier has prices of its own.");
  for (const field of ["search_parameters", "extra_body"])
    if ((body[field] ?? null) !== null) throw no(field, "it can change what the request costs.");
  for (const tool of Array.isArray(body.tools) ? (body.tools as { type?: unknown }[]) : []) {
    if (tool?.type !== "function" && tool?.type !== "custom") throw no("tools", "only function and custom tools have a price.");
  }
  if ((body.web_search_options ?? null) !== null) throw no("web_search_options", "searches are billed by the call.");
  if (Array.isArray(body.modalities) && body.modalities.some((modality) => modality !== "text"))
    throw no("modalities", "only text output has a price.");
  if ((body.audio ?? null) !== null) throw no("audio", "only text output has a price.");
  if (model.provider === "openrouter") {
    for (const field of ["models", "route", "plugins", "provider", "preset"]) {
      if ((body[field] ?? null) !== null) throw no(field, "it can change what the request costs.");
    }
  }
  if (model.audioCostsMore && countParts(body.messages as unknown[]).audio > 0) {
    throw wrong("messages", `${model.id} has no listed price for audio input.`);
  }
}

/**
 * Every tokenizer in use makes at most one token of a byte, and the JSON around a
 * message is longer than what the provider adds to it. Images are not billed by
 * their bytes, so their data is taken out and their own bound put in.
 */
function promptBound(text: string, messages: unknown[], body: Readonly<Record<string, unknown>>, model: Model): number {
  const parts = countParts(messages);
  if (parts.unbounded) return model.contextLength;
  const bytes = Buffer.byteLength(text) - parts.dataBytes + 16;
  return Math.min(model.contextLength, bytes + toolPromptTokens(body) + parts.images * imageTokens(model));
}

/** Some providers put a page of instructions in front of the tools. */
function hasMoreThanText(messages: unknown[], body: Readonly<Record<string, unknown>>): boolean {
  const parts = countParts(messages);
  return parts.images > 0 || parts.audio > 0 || parts.unbounded || (body.functions ?? null) !== null || (body.prediction ?? null) !== null;
}

function predictionBytes(text: string, members: ReadonlyMap<string, JsonMember>): number {
  const member = members.get("prediction");
  return member === undefined ? 0 : Buffer.byteLength(text.slice(member.valueStart, member.valueEnd));
}

function toolPromptTokens(body: Readonly<Record<string, unknown>>): number {
  return Array.isArray(body.tools) && body.tools.length > 0 ? 1_000 : 0;
}

function imageTokens(model: Model): number {
  return model.maxTokensPerImage ?? 16_384;
}

type Parts = { images: number; audio: number; dataBytes: number; unbounded: boolean };

function countParts(messages: unknown[]): Parts {
  const parts: Parts = { images: 0, audio: 0, dataBytes: 0, unbounded: false };
  for (const message of messages) {
    if (!isObject(message) || !Array.isArray(message.content)) continue;
    for (const part of message.content as unknown[]) {
      if (!isObject(part)) continue;
      if (part.type === "image_url") {
        parts.images++;
        const url = isObject(part.image_url) ? part.image_url.url : part.image_url;
        if (typeof url !== "string" || /^https?:/i.test(url)) continue;
        // Providers take other things than images here, and bill them by the page or the second.
        if (/^data:image\//i.test(url)) parts.dataBytes += url.length;
        else parts.unbounded = true;
      } else if (part.type === "input_audio") parts.audio++;
      // A file may be known to the provider only, and hold pages of images.
      else if (part.type !== "text" && part.type !== "refusal") parts.unbounded = true;
    }
  }
  return parts;
}

function readBoolean(body: Readonly<Record<string, unknown>>, field: string): boolean {
  const value = body[field] ?? false;
  if (typeof value !== "boolean") throw wrong(field, `\`${field}\` must be true or false.`);
  return value;
}

function readObject(body: Readonly<Record<string, unknown>>, field: string): Readonly<Record<string, unknown>> | null {
  const value = body[field] ?? null;
  if (value !== null && !isObject(value)) throw wrong(field, `\`${field}\` must be an object.`);
  return value;
}

function readInteger(body: Readonly<Record<string, unknown>>, field: string, least: number, most: number): number | null {
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

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function wrong(param: string | null, message: string): AppError {
  return new AppError("bad_request", { param, message });
}
