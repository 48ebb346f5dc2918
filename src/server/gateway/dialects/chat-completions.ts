import type { Model } from "../../pricing/models.ts";
import { countPromptTokens, countTextTokens, textsOfAnswer, type WrittenAnswer } from "../../pricing/tokens.ts";
import type { Upstream } from "../providers.ts";
import { ChatMeter, readUsage } from "./chat-meter.ts";
import { type CompletionRequest, type Dialect, LEAST_OUTPUT } from "./dialect.ts";
import { type JsonMember, topLevelMembers, withMembers } from "./json-text.ts";
import {
  type Body,
  boundByBytes,
  boundByTokens,
  countImage,
  isObject,
  noParts,
  notAvailable,
  once,
  type Parts,
  parseBody,
  pricedFields,
  readBoolean,
  readInteger,
  readMessages,
  readModel,
  readObject,
  refuseExtras,
  refuseLongCache,
  refuseOtherTiers,
  refuseRouting,
  tokensOfBodyWith,
  toolInstructions,
  wrong,
} from "./read.ts";

/** OpenAI's chat completions, which every provider speaks. */
export const chatCompletions: Dialect = {
  upstreamPath: "/chat/completions",
  read,
  closerPromptBound: once((request, lane) => boundByTokens(request, lane, partsOf(request), toolInstructions(request.body))),
  countPrompt: once(countPrompt),
  headers: (_request, upstream) => upstream.headers,
  changes,
  isAnswer: ({ choices }) => Array.isArray(choices) && choices.length > 0,
  readUsage: ({ usage }) => readUsage(usage),
  countAnswer,
  watch: (request, lane) =>
    new ChatMeter({ includeUsage: wantsUsage(request.body), choices: request.choices, model: request.model.id, lane }),
};

const PRICED = pricedFields([
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
  "thinking",
  "reasoning",
  "reasoning_effort",
  "modalities",
  "audio",
  "web_search_options",
]);

function read(text: string): CompletionRequest {
  const { body, members } = parseBody(text, PRICED);
  const model = readModel(body, "chat");
  const messages = readMessages(body);
  const stream = readBoolean(body, "stream");
  readObject(body, "stream_options");
  const choices = readInteger(body, "n", 1, 128) ?? 1;
  const limits = ["max_tokens", "max_completion_tokens"].filter((field) => (body[field] ?? null) !== null);
  const asked = limits.map((field) => readInteger(body, field, 1, Number.MAX_SAFE_INTEGER) as number);
  refuseWhatHasNoPrice(body, model);
  const parts = countParts(messages);
  return {
    text,
    body,
    members,
    model,
    stream,
    choices,
    askedOutput: asked.length === 0 ? null : Math.min(...asked, model.maxOutputTokens),
    limitIsOwn: asked.length > 0,
    outputLimitFields: limits,
    leastOutput: LEAST_OUTPUT + thinkingBudget(body),
    promptBound: boundByBytes(text, parts, toolInstructions(body), model),
    // Anthropic's endpoint of this shape caches nothing.
    cacheWrites: model.provider === "anthropic" ? "none" : "short",
    predictionBytes: predictionBytes(text, members),
    onlyProviderCounts: model.reasoning === true || asksForThinking(body) || hasMoreThanText(parts, body),
    headers: {},
  };
}

/** The client asked for a usage chunk of its own. */
function wantsUsage(body: Body): boolean {
  return (body.stream_options as { include_usage?: unknown } | null | undefined)?.include_usage === true;
}

/** By OpenAI's rule for plain messages, else by the text of the whole body. */
async function countPrompt(request: CompletionRequest, lane: string): Promise<number> {
  const { body } = request;
  if (!request.onlyProviderCounts)
    return countPromptTokens({ messages: body.messages as unknown[], tools: body.tools, response_format: body.response_format }, { lane });
  return tokensOfBodyWith(partsOf(request), request.text, lane);
}

function changes(request: CompletionRequest, upstream: Upstream, outputLimit: number | null): Record<string, string> {
  const changed: Record<string, string> = {};
  const named = request.outputLimitFields;
  if (outputLimit !== null) {
    for (const field of named.length > 0 ? named : [upstream.outputLimitField]) changed[field] = String(outputLimit);
  }
  // Providers that know only `max_tokens` ignore the other name, and with it the limit.
  if (named.length > 0 && upstream.outputLimitField === "max_tokens" && !named.includes("max_tokens")) {
    changed.max_tokens = String(outputLimit ?? request.askedOutput);
  }
  if (request.stream && upstream.streamOptions && !wantsUsage(request.body)) {
    const options = request.members.get("stream_options");
    const text = options === undefined ? "null" : request.text.slice(options.valueStart, options.valueEnd);
    changed.stream_options =
      text === "null" ? '{"include_usage":true}' : withMembers(text, topLevelMembers(text), { include_usage: "true" });
  }
  return changed;
}

function countAnswer({ choices }: Body, lane: string): Promise<number> {
  const written = Array.isArray(choices) ? (choices as { message?: WrittenAnswer }[]) : [];
  return countTextTokens(
    written.flatMap((choice) => textsOfAnswer(choice?.message ?? {})),
    { lane },
  );
}

function refuseWhatHasNoPrice(body: Body, model: Model): void {
  refuseOtherTiers(body);
  refuseExtras(body);
  for (const tool of Array.isArray(body.tools) ? (body.tools as { type?: unknown }[]) : []) {
    if (tool?.type !== "function" && tool?.type !== "custom") throw notAvailable("tools", "only function and custom tools have a price.");
  }
  if ((body.web_search_options ?? null) !== null) throw notAvailable("web_search_options", "searches are billed by the call.");
  if (Array.isArray(body.modalities) && body.modalities.some((modality) => modality !== "text"))
    throw notAvailable("modalities", "only text output has a price.");
  refuseLongCache(body.prompt_cache_options, "prompt_cache_options");
  if ((body.audio ?? null) !== null) throw notAvailable("audio", "only text output has a price.");
  refuseRouting(body, model);
  if (model.audioCostsMore && countParts(body.messages as unknown[]).audio > 0) {
    throw wrong("messages", `${model.id} has no listed price for audio input.`);
  }
}

function hasMoreThanText(parts: Parts, body: Body): boolean {
  return parts.images > 0 || parts.audio > 0 || parts.unbounded || (body.functions ?? null) !== null || (body.prediction ?? null) !== null;
}

/** Anthropic takes `thinking` here too and shows nothing of it, OpenRouter `reasoning`; all of it is billed as output. */
function asksForThinking({ thinking, reasoning, reasoning_effort }: Body): boolean {
  return (
    ((thinking ?? null) !== null && !(isObject(thinking) && thinking.type === "disabled")) ||
    ((reasoning ?? null) !== null && !(isObject(reasoning) && (reasoning.enabled === false || reasoning.effort === "none"))) ||
    (reasoning_effort ?? "none") !== "none"
  );
}

/** Has to fit within the limit, or the provider refuses the request. */
function thinkingBudget({ thinking, reasoning }: Body): number {
  const budgets = [
    isObject(thinking) && thinking.type === "enabled" ? thinking.budget_tokens : 0,
    isObject(reasoning) && reasoning.enabled !== false ? reasoning.max_tokens : 0,
  ];
  return Math.max(...budgets.map((budget) => (Number.isSafeInteger(budget) && (budget as number) > 0 ? (budget as number) : 0)));
}

function predictionBytes(text: string, members: ReadonlyMap<string, JsonMember>): number {
  const member = members.get("prediction");
  return member === undefined ? 0 : Buffer.byteLength(text.slice(member.valueStart, member.valueEnd));
}

function partsOf({ body }: CompletionRequest): Parts {
  return countParts(body.messages as unknown[]);
}

function countParts(messages: unknown[]): Parts {
  const parts = noParts();
  for (const message of messages) {
    if (!isObject(message) || !Array.isArray(message.content)) continue;
    for (const part of message.content as unknown[]) {
      if (!isObject(part)) continue;
      refuseLongCache(part.prompt_cache_breakpoint, "messages");
      if (part.type === "image_url") {
        countImage(isObject(part.image_url) ? part.image_url.url : part.image_url, parts);
      } else if (part.type === "input_audio") parts.audio++;
      // A file may be known to the provider only, and hold pages of images.
      else if (part.type !== "text" && part.type !== "refusal") parts.unbounded = true;
    }
  }
  return parts;
}
