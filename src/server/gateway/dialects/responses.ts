import type { Model } from "../../pricing/models.ts";
import { countPromptTokens, countTextTokens } from "../../pricing/tokens.ts";
import { type CompletionRequest, type Dialect, LEAST_OUTPUT } from "./dialect.ts";
import { requireDoor } from "./doors.ts";
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
import { ResponsesMeter, readResponseUsage } from "./responses-meter.ts";

/** OpenAI's Responses API, without what it keeps at the provider. */
export const responses: Dialect = {
  upstreamPath: "/responses",
  read,
  closerPromptBound: once((request, lane) => boundByTokens(request, lane, lookThrough(request.body), toolInstructions(request.body))),
  countPrompt: once(countPrompt),
  headers: (_request, upstream) => upstream.headers,
  changes: ({ body }, _upstream, outputLimit) => ({
    ...((body.store ?? null) === null ? { store: "false" } : {}),
    ...(outputLimit === null ? {} : { max_output_tokens: String(outputLimit) }),
  }),
  isAnswer: ({ status, output }) => Array.isArray(output) && ["completed", "incomplete"].includes((status ?? "completed") as string),
  readUsage: ({ usage }) => readResponseUsage(usage),
  countAnswer,
  watch: (_request, lane) => new ResponsesMeter(lane),
};

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
  "conversation",
  "previous_response_id",
  "prompt",
  "reasoning",
  "context_management",
  "moderation",
  "prompt_cache_options",
]);

function read(text: string): CompletionRequest {
  const { body, members } = parseBody(text, PRICED);
  const model = readModel(body, "chat");
  requireDoor(model, "/v1/responses");
  readInput(body);
  const stream = readBoolean(body, "stream");
  const asked = readInteger(body, "max_output_tokens", 1, Number.MAX_SAFE_INTEGER);
  refuseWhatIsKept(body);
  refuseWhatHasNoPrice(body, model);
  const parts = lookThrough(body);
  return {
    text,
    body,
    members,
    model,
    stream,
    choices: 1,
    askedOutput: asked === null ? null : Math.min(asked, model.maxOutputTokens),
    limitIsOwn: asked !== null,
    outputLimitFields: asked === null ? [] : ["max_output_tokens"],
    leastOutput: LEAST_OUTPUT,
    promptBound: boundByBytes(text, parts, toolInstructions(body), model),
    cacheWrites: "short",
    predictionBytes: 0,
    onlyProviderCounts: model.reasoning === true || (body.reasoning ?? null) !== null || parts.images > 0 || parts.unbounded,
    headers: {},
  };
}

function readInput(body: Body): void {
  if (typeof body.input === "string" && body.input !== "") return;
  if (!Array.isArray(body.input) || body.input.length === 0)
    throw wrong("input", "`input` must be text, or a list with at least one item.");
  body.input.forEach((item: unknown, index) => {
    if (!isObject(item)) throw wrong(`input[${index}]`, `\`input[${index}]\` must be an object.`);
  });
}

const SHARED = "it refers to what is kept in this server's own account with the provider, which all apps share.";

/** All apps share the operator's account with the provider: what one of them left there, another could read. */
function refuseWhatIsKept(body: Body): void {
  for (const field of ["previous_response_id", "conversation", "prompt"])
    if ((body[field] ?? null) !== null) throw notAvailable(field, `${SHARED} Send the whole conversation in \`input\`.`);
  if (readBoolean(body, "store")) throw notAvailable("store", "nothing is kept at the provider. Leave it out, or say false.");
  if (readBoolean(body, "background")) throw notAvailable("background", "an answer that nobody waits for would have to be kept.");
}

function refuseWhatHasNoPrice(body: Body, model: Model): void {
  refuseOtherTiers(body);
  if ((body.context_management ?? null) !== null)
    throw notAvailable("context_management", "it can call the model more often than the usage tells.");
  if ((body.moderation ?? null) !== null) throw notAvailable("moderation", "another model has other prices.");
  refuseExtras(body);
  if ((readObject(body, "reasoning")?.mode ?? "standard") !== "standard")
    throw notAvailable("reasoning", "this mode has prices of its own.");
  const cache = readObject(body, "prompt_cache_options");
  if (cache !== null && (cache.comparison_response_id ?? null) !== null) throw notAvailable("prompt_cache_options", SHARED);
  refuseLongCache(cache, "prompt_cache_options");
  if ((body.tools ?? null) !== null && !Array.isArray(body.tools)) throw wrong("tools", "`tools` must be a list.");
  for (const tool of (body.tools ?? []) as unknown[]) {
    if (!isObject(tool) || (tool.type !== "function" && tool.type !== "custom"))
      throw notAvailable("tools", "only function and custom tools have a price.");
  }
  refuseRouting(body, model);
}

/**
 * What of a request is more than text. Items are known by name: another could add
 * tools, change the model's settings, or stand for something that the provider keeps.
 */
function lookThrough(body: Body): Parts {
  const parts = noParts();
  if (!Array.isArray(body.input)) return parts;
  for (const item of body.input as Body[]) {
    switch (item.type ?? "message") {
      case "message":
        // A reference may leave its type out.
        if (typeof item.role !== "string" || !(typeof item.content === "string" || Array.isArray(item.content)))
          throw notAvailable("input", `an item without role and content: ${SHARED}`);
        lookAt(item.content, parts);
        break;
      case "function_call_output":
      case "custom_tool_call_output":
        lookAt(item.output, parts);
        break;
      case "function_call":
      case "custom_tool_call":
        break;
      case "reasoning":
        if (typeof item.encrypted_content !== "string" && !(Array.isArray(item.content) && item.content.length > 0))
          throw notAvailable(
            "input",
            `reasoning without its content is only a reference. Ask for it with \`include: ["reasoning.encrypted_content"]\`.`,
          );
        break;
      case "item_reference":
        throw notAvailable("input", `an item reference: ${SHARED}`);
      default:
        throw notAvailable("input", "only messages, reasoning, and calls of your own tools with their results can be items.");
    }
  }
  return parts;
}

function lookAt(content: unknown, parts: Parts): void {
  if (!Array.isArray(content)) return;
  for (const part of content as unknown[]) {
    if (!isObject(part)) continue;
    if ((part.file_id ?? null) !== null)
      throw notAvailable("input", "a file id names something in an account that all apps share. Send the file itself.");
    refuseLongCache(part.prompt_cache_breakpoint, "input");
    if (part.type === "input_image") countImage(part.image_url, parts);
    else if (part.type === "input_audio") throw notAvailable("input", "audio has no listed price.");
    // A file may hold pages of images.
    else if (!TEXT_PARTS.has(part.type)) parts.unbounded = true;
  }
}

const TEXT_PARTS: ReadonlySet<unknown> = new Set(["input_text", "output_text", "text", "refusal", "summary_text", "reasoning_text"]);

/** By OpenAI's rule where all is plain text, else by the text of the whole body. */
async function countPrompt(request: CompletionRequest, lane: string): Promise<number> {
  const { body } = request;
  const items = typeof body.input === "string" ? [{ role: "user", content: body.input }] : (body.input as Body[]);
  if (request.onlyProviderCounts || items.some(({ type }) => (type ?? "message") !== "message"))
    return tokensOfBodyWith(lookThrough(body), request.text, lane);
  const instructions = typeof body.instructions === "string" ? [{ role: "system", content: body.instructions }] : [];
  const format = isObject(body.text) ? body.text.format : undefined;
  const prompt = {
    messages: [...instructions, ...items],
    tools: body.tools,
    response_format: isObject(format) ? { type: format.type, json_schema: format } : undefined,
  };
  return countPromptTokens(prompt, { lane });
}

function countAnswer({ output }: Body, lane: string): Promise<number> {
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
  return countTextTokens(written, { lane });
}
