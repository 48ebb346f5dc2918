import type { Model } from "../../pricing/models.ts";
import { countPromptTokens } from "../../pricing/tokens.ts";
import type { Upstream } from "../providers.ts";
import { ChatMeter, hasFailed } from "./chat-meter.ts";
import { textsOfMessage } from "./chat-text.ts";
import { type Body, type CompletionRequest, type Dialect, LEAST_OUTPUT, type Parts } from "./dialect.ts";
import { type JsonMember, type MemberChanges, topLevelMembers, withMembers } from "./json-text.ts";
import { boundByBytes, closerPromptBound, countImage, countTexts, memoized, noParts, tokensOfBody, toolInstructions } from "./prompt.ts";
import {
  badRequest,
  isObject,
  pricedFields,
  readCommon,
  readInteger,
  readMessages,
  readObject,
  readOutputLimit,
  uniqueMembers,
} from "./read.ts";
import { fileRefused, isOwnTool, notAvailable, readTools, refuseLongCache, refuseMembers, refuseUnpricedOptions } from "./refuse.ts";
import { readChatUsage } from "./usage.ts";
/** OpenAI's chat completions API, which every provider has. */
export const chatCompletions: Dialect = {
  upstreamPath: "/chat/completions",
  read,
  closerPromptBound,
  countPrompt: memoized(countPrompt),
  headers: (_request, upstream) => upstream.headers,
  changes,
  isAnswer: ({ choices }) => Array.isArray(choices) && choices.length > 0 && !choices.some(hasFailed),
  readUsage: readChatUsage,
  countAnswer: countTexts(textsOf),
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
  "background",
  "deferred",
]);

const OUTPUT_LIMITS = ["max_tokens", "max_completion_tokens"] as const;

function read(text: string): CompletionRequest {
  const common = readCommon(text, PRICED, "chat");
  const { body, members, model } = common;
  const messages = readMessages(body);
  const streamOptions = members.get("stream_options");
  // Of a member that occurs twice the provider may take the other one.
  if (readObject(body, "stream_options") !== null && streamOptions !== undefined)
    uniqueMembers(text.slice(streamOptions.valueStart, streamOptions.valueEnd), "stream_options.");
  const choices = readInteger(body, "n", 1, 128) ?? 1;
  const limit = readOutputLimit(common, OUTPUT_LIMITS);
  const parts = findParts(messages);
  refuseUnpriced(body, model, parts);
  const instructions = toolInstructions(body);
  return {
    ...common,
    ...limit,
    choices,
    leastOutput: LEAST_OUTPUT + thinkingBudget(body),
    parts,
    instructions,
    promptBound: boundByBytes(text, parts, instructions, model),
    // Anthropic's endpoint for chat completions does not write into the prompt cache.
    cacheWrites: model.provider === "anthropic" ? "none" : "short",
    predictionBytes: predictionBytes(text, members),
    onlyProviderCounts: model.reasoning === true || asksForThinking(body) || hasMoreThanText(parts, body),
    headers: {},
  };
}

/** Whether the client asked for a usage chunk. */
function wantsUsage(body: Body): boolean {
  return (body.stream_options as { include_usage?: unknown } | null | undefined)?.include_usage === true;
}

/** Counts plain messages by OpenAI's rule, and any other request by the text of its whole body. */
async function countPrompt(request: CompletionRequest, lane: string): Promise<number> {
  const { body } = request;
  if (!request.onlyProviderCounts)
    return countPromptTokens({ messages: body.messages as unknown[], tools: body.tools, response_format: body.response_format }, { lane });
  return tokensOfBody(request, lane);
}

function changes(request: CompletionRequest, upstream: Upstream, outputLimit: number | null): MemberChanges {
  const changed: Record<string, string | null> = limitChanges(request, upstream, outputLimit);
  if (request.stream && upstream.streamOptions && !wantsUsage(request.body)) {
    const options = request.members.get("stream_options");
    const text = options === undefined ? "null" : request.text.slice(options.valueStart, options.valueEnd);
    changed.stream_options =
      text === "null" ? '{"include_usage":true}' : withMembers(text, topLevelMembers(text), { include_usage: "true" });
  }
  return changed;
}

/** Sends the output limit only under the name that the provider takes: providers refuse or ignore a second name. */
function limitChanges(
  { body, model, askedOutput, outputLimitFields: named }: CompletionRequest,
  { outputLimitField, takesMaxTokens }: Upstream,
  outputLimit: number | null,
): Record<string, string | null> {
  const keepsName = takesMaxTokens && model.reasoning !== true && named.length === 1;
  const name = keepsName ? (named[0] as string) : outputLimitField;
  const changed: Record<string, string | null> = {};
  for (const other of OUTPUT_LIMITS) if (other !== name && other in body) changed[other] = null;
  const limit = outputLimit ?? askedOutput;
  if (limit !== null && body[name] !== limit && (outputLimit !== null || named.length > 0)) changed[name] = String(limit);
  return changed;
}

function textsOf({ choices }: Body): string[] {
  return Array.isArray(choices) ? choices.flatMap((choice: { message?: unknown } | null) => textsOfMessage(choice?.message)) : [];
}

function refuseUnpriced(body: Body, model: Model, { audio }: Parts): void {
  refuseUnpricedOptions(body, model);
  readTools(body, isOwnTool, "function and custom tools");
  refuseMembers(body, REFUSED);
  if (Array.isArray(body.modalities) && body.modalities.some((modality) => modality !== "text"))
    throw notAvailable("modalities", "only text output has a price.");
  refuseLongCache(body.prompt_cache_options, "prompt_cache_options");
  if (model.audioCostsMore && audio > 0) throw badRequest("messages", `${model.id} has no listed price for audio input.`);
}

const REFUSED: Readonly<Record<string, string>> = {
  web_search_options: "searches are billed by the call.",
  audio: "only text output has a price.",
};

function hasMoreThanText(parts: Parts, body: Body): boolean {
  return parts.images > 0 || parts.audio > 0 || parts.unbounded || (body.functions ?? null) !== null || (body.prediction ?? null) !== null;
}

/** Whether the request turns on reasoning: by Anthropic's `thinking`, by OpenRouter's `reasoning` or by `reasoning_effort`. It is billed as output, also when the answer does not have it. */
function asksForThinking({ thinking, reasoning, reasoning_effort }: Body): boolean {
  return (
    ((thinking ?? null) !== null && !(isObject(thinking) && thinking.type === "disabled")) ||
    ((reasoning ?? null) !== null && !(isObject(reasoning) && (reasoning.enabled === false || reasoning.effort === "none"))) ||
    (reasoning_effort ?? "none") !== "none"
  );
}

/** The request's thinking budget in tokens. The provider refuses an output limit below it. */
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

function findParts(messages: readonly Body[]): Parts {
  const parts = noParts();
  for (const message of messages) {
    if (!Array.isArray(message.content)) continue;
    for (const part of message.content as unknown[]) {
      if (!isObject(part)) continue;
      refuseLongCache(part.prompt_cache_breakpoint, "messages");
      const names = [part, part.file, part.image_url, part.input_audio].map((each) => (isObject(each) ? (each.file_id ?? null) : null));
      if (names.some((name) => name !== null)) throw fileRefused("messages");
      if (part.type === "image_url") {
        countImage(isObject(part.image_url) ? part.image_url.url : part.image_url, parts);
      } else if (part.type === "input_audio") parts.audio++;
      // A file may contain images, whose tokens can't be bounded here.
      else if (part.type !== "text" && part.type !== "refusal") parts.unbounded = true;
    }
  }
  return parts;
}
