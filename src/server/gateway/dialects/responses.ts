import type { Model } from "../../pricing/models.ts";
import { countPromptTokens } from "../../pricing/tokens.ts";
import type { Upstream } from "../providers.ts";
import { type Body, type CompletionRequest, type Dialect, LEAST_OUTPUT, type Parts } from "./dialect.ts";
import { requireEndpoint } from "./endpoints.ts";
import { boundByBytes, closerPromptBound, countImage, countTexts, memoized, noParts, tokensOfBody, toolInstructions } from "./prompt.ts";
import { badRequest, isObject, pricedFields, readBoolean, readCommon, readObject, readOutputLimit } from "./read.ts";
import { fileRefused, isOwnTool, notAvailable, refuseLongCache, refuseMembers, refuseUnpricedOptions, SHARED } from "./refuse.ts";
import { ResponsesMeter } from "./responses-meter.ts";
import { readResponseUsage } from "./usage.ts";

/** OpenAI's Responses API, without the features that store data at the provider. */
export const responses: Dialect = {
  upstreamPath: "/responses",
  read,
  closerPromptBound,
  countPrompt: memoized(countPrompt),
  headers: (_request, upstream) => upstream.headers,
  changes,
  isAnswer: ({ status, output }) => Array.isArray(output) && ["completed", "incomplete"].includes((status ?? "completed") as string),
  readUsage: ({ usage }) => readResponseUsage(usage),
  countAnswer: countTexts(textsOf),
  watch: (_request, lane) => new ResponsesMeter(lane),
};

/** The API that counts a prompt's tokens. */
export const responsesCount: Dialect = { ...responses, upstreamPath: "/responses/input_tokens", changes: () => ({}) };

const PRICED = pricedFields([
  "model",
  "input",
  "instructions",
  "stream",
  "max_output_tokens",
  "tools",
  "service_tier",
  "store",
  "background",
  "deferred",
  "conversation",
  "previous_response_id",
  "prompt",
  "reasoning",
  "context_management",
  "moderation",
  "prompt_cache_options",
]);

function read(text: string): CompletionRequest {
  const common = readCommon(text, PRICED, "chat");
  const { body, model } = common;
  requireEndpoint(model, "/v1/responses");
  readInput(body);
  const limit = readOutputLimit(common, ["max_output_tokens"]);
  refuseStored(body);
  refuseUnpriced(body, model);
  const parts = findParts(body);
  const instructions = instructionsOf(body);
  return {
    ...common,
    ...limit,
    choices: 1,
    leastOutput: LEAST_OUTPUT,
    parts,
    instructions,
    promptBound: boundByBytes(text, parts, instructions, model),
    cacheWrites: "short",
    predictionBytes: 0,
    onlyProviderCounts: model.reasoning === true || (body.reasoning ?? null) !== null || parts.images > 0 || parts.unbounded,
    headers: {},
  };
}

function changes({ body, model }: CompletionRequest, upstream: Upstream, outputLimit: number | null): Record<string, string> {
  const storeIsOurs = (body.store ?? null) === null;
  return {
    ...(storeIsOurs ? { store: "false" } : {}),
    ...(storeIsOurs && model.reasoning === true && ENCRYPTS.has(upstream.provider) ? withEncryptedReasoning(body.include) : {}),
    ...(outputLimit === null ? {} : { max_output_tokens: String(outputLimit) }),
  };
}

/**
 * A client that leaves `store` out expects the provider to store the reasoning, and sends the items of an answer back
 * with the next request. As `store` is sent as false, the reasoning has to be in the items.
 */
function withEncryptedReasoning(include: unknown): Record<string, string> {
  const asked = Array.isArray(include) ? (include as unknown[]) : [];
  return asked.includes(ENCRYPTED) ? {} : { include: JSON.stringify([...asked, ENCRYPTED]) };
}

const ENCRYPTED = "reasoning.encrypted_content";
/** Providers that know this value. Others refuse it, or send reasoning as plain text. */
const ENCRYPTS: ReadonlySet<string> = new Set(["openai", "xai", "openrouter", "simulator"]);

function readInput(body: Body): void {
  if (typeof body.input === "string" && body.input !== "") return;
  if (!Array.isArray(body.input) || body.input.length === 0)
    throw badRequest("input", "`input` must be text, or a list with at least one item.");
  body.input.forEach((item: unknown, index) => {
    if (!isObject(item)) throw badRequest(`input[${index}]`, `\`input[${index}]\` must be an object.`);
  });
}

const KEPT = `${SHARED} Send the whole conversation in \`input\`.`;

function refuseStored(body: Body): void {
  refuseMembers(body, { previous_response_id: KEPT, conversation: KEPT, prompt: KEPT });
  if (readBoolean(body, "store")) throw notAvailable("store", "nothing is kept at the provider. Leave it out, or say false.");
}

function refuseUnpriced(body: Body, model: Model): void {
  refuseUnpricedOptions(body, model);
  refuseMembers(body, {
    context_management: "it can call the model more often than the usage tells.",
    moderation: "another model has other prices.",
  });
  if ((readObject(body, "reasoning")?.mode ?? "standard") !== "standard")
    throw notAvailable("reasoning", "this mode has prices of its own.");
  const cache = readObject(body, "prompt_cache_options");
  if (cache !== null && (cache.comparison_response_id ?? null) !== null) throw notAvailable("prompt_cache_options", SHARED);
  refuseLongCache(cache, "prompt_cache_options");
  requirePricedTools(body.tools, "tools", "tools");
}

/**
 * Throws `bad_request` for a tool that the provider runs, in the request, in a namespace or in the conversation. Tools
 * that the app runs cost only the tokens of their definitions.
 */
function requirePricedTools(tools: unknown, field: string, place: string): void {
  if ((tools ?? null) === null) return;
  if (!Array.isArray(tools)) throw badRequest(field, `\`${place}\` must be a list.`);
  for (const [index, tool] of (tools as unknown[]).entries()) {
    if (isObject(tool) && tool.type === "namespace") requirePricedTools(tool.tools ?? [], field, `${place}[${index}].tools`);
    else if (!isOwnTool(tool) && !isClientTool(tool)) {
      const type = isObject(tool) && typeof tool.type === "string" ? ` ("${tool.type.slice(0, 100)}")` : "";
      throw notAvailable(
        field,
        `\`${place}[${index}]\`${type} is run by the provider. Only tools that your app runs have a price: functions and custom tools, namespaces of them, and apply_patch, computer, local_shell, shell and tool_search where your app carries them out.`,
      );
    }
  }
}

/** Tools that OpenAI describes to the model and the app runs. */
function isClientTool(tool: unknown): boolean {
  if (!isObject(tool)) return false;
  switch (tool.type) {
    case "apply_patch":
    case "computer":
    case "local_shell":
      return true;
    case "shell":
      return isObject(tool.environment) && tool.environment.type === "local";
    case "tool_search":
      return tool.execution === "client";
    default:
      return false;
  }
}

/** Upper bound of the tokens that OpenAI adds to the prompt: instructions for tools, and its descriptions of client tools. */
function instructionsOf(body: Body): number {
  const items = Array.isArray(body.input) ? (body.input as Body[]) : [];
  const tools = [body, ...items].flatMap((holder) => (isObject(holder) && Array.isArray(holder.tools) ? (holder.tools as unknown[]) : []));
  return (tools.length > 0 ? toolInstructions({ tools }) : 0) + tools.filter(isClientTool).length * 2_000;
}

/**
 * Finds the parts of a request that are not text. Only known types of items are allowed: another
 * could add tools, change the model's settings, or refer to data stored at the provider.
 */
function findParts(body: Body): Parts {
  const parts = noParts();
  if (!Array.isArray(body.input)) return parts;
  for (const item of body.input as Body[]) {
    switch (item.type ?? "message") {
      case "message":
        // An item reference may have no type.
        if (typeof item.role !== "string" || !(typeof item.content === "string" || Array.isArray(item.content)))
          throw notAvailable("input", `an item without role and content: ${SHARED}`);
        scanContent(item.content, parts);
        break;
      case "function_call_output":
      case "custom_tool_call_output":
      case "local_shell_call_output":
      case "shell_call_output":
      case "apply_patch_call_output":
        scanContent(item.output, parts);
        break;
      case "computer_call_output":
        scanScreenshot(item.output, parts);
        break;
      case "function_call":
      case "custom_tool_call":
      case "local_shell_call":
      case "shell_call":
      case "apply_patch_call":
      case "computer_call":
        break;
      case "tool_search_call":
      case "tool_search_output":
        if (item.execution !== "client") throw notAvailable("input", "a search that the provider carried out: it is run by the provider.");
        requirePricedTools(item.tools, "input", "tools");
        break;
      case "additional_tools":
        requirePricedTools(item.tools, "input", "tools");
        break;
      case "reasoning":
        if (typeof item.encrypted_content !== "string" && !(Array.isArray(item.content) && item.content.length > 0))
          throw notAvailable(
            "input",
            `reasoning without its content is only a reference, and nothing is kept at the provider (\`store: false\`). Ask for the content with \`include: ["reasoning.encrypted_content"]\`.`,
          );
        break;
      case "item_reference":
        throw notAvailable(
          "input",
          `an item reference names what the provider would have kept, and nothing is kept (\`store: false\`). Send the item itself; clients that refer to items do so no more when they are told \`store: false\`.`,
        );
      default:
        throw notAvailable("input", "only messages, reasoning, and calls of your own tools with their results can be items.");
    }
  }
  return parts;
}

function scanScreenshot(output: unknown, parts: Parts): void {
  if (!isObject(output)) return;
  if ((output.file_id ?? null) !== null) throw fileRefused("input");
  countImage(output.image_url, parts);
}

function scanContent(content: unknown, parts: Parts): void {
  if (!Array.isArray(content)) return;
  for (const part of content as unknown[]) {
    if (!isObject(part)) continue;
    if ((part.file_id ?? null) !== null) throw fileRefused("input");
    refuseLongCache(part.prompt_cache_breakpoint, "input");
    if (part.type === "input_image") countImage(part.image_url, parts);
    else if (part.type === "input_audio") throw notAvailable("input", "audio has no listed price.");
    // A file may contain images, whose tokens can't be bounded here.
    else if (!TEXT_PARTS.has(part.type)) parts.unbounded = true;
  }
}

const TEXT_PARTS: ReadonlySet<unknown> = new Set(["input_text", "output_text", "text", "refusal", "summary_text", "reasoning_text"]);

/** Counts plain text by OpenAI's rule, and any other request by the text of its whole body. */
async function countPrompt(request: CompletionRequest, lane: string): Promise<number> {
  const { body } = request;
  const items = typeof body.input === "string" ? [{ role: "user", content: body.input }] : (body.input as Body[]);
  if (request.onlyProviderCounts || items.some(({ type }) => (type ?? "message") !== "message")) return tokensOfBody(request, lane);
  const instructions = typeof body.instructions === "string" ? [{ role: "system", content: body.instructions }] : [];
  const format = isObject(body.text) ? body.text.format : undefined;
  const prompt = {
    messages: [...instructions, ...items],
    tools: body.tools,
    response_format: isObject(format) ? { type: format.type, json_schema: format } : undefined,
  };
  return countPromptTokens(prompt, { lane });
}

function textsOf({ output }: Body): string[] {
  const written: string[] = [];
  const note = (text: unknown) => {
    if (typeof text === "string") written.push(text);
  };
  for (const item of Array.isArray(output) ? (output as unknown[]) : []) {
    if (!isObject(item)) continue;
    for (const text of [item.name, item.arguments, item.input]) note(text);
    for (const parts of [item.content, item.summary]) {
      for (const part of Array.isArray(parts) ? (parts as unknown[]) : []) if (isObject(part)) note(part.text ?? part.refusal);
    }
  }
  return written;
}
