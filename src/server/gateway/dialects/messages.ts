import type { Model } from "../../pricing/models.ts";
import type { CacheWrites } from "../../pricing/price.ts";
import { countPromptTokens } from "../../pricing/tokens.ts";
import { type Body, type CompletionRequest, type Dialect, type HeaderReader, LEAST_OUTPUT, type Parts } from "./dialect.ts";
import { requireDoor } from "./doors.ts";
import type { MemberChanges } from "./json-text.ts";
import { MessagesMeter } from "./messages-meter.ts";
import { boundByBytes, closerPromptBound, countTexts, noParts, once, tokensOfBody, toolInstructions } from "./prompt.ts";
import { begin, isObject, pricedFields, readInteger, readMessages, readObject, readOutputLimit, wrong } from "./read.ts";
import { fileRefused, notAvailable, readTools, refuseMembers, refuseTiers, SHARED } from "./refuse.ts";
import { readMessageUsage } from "./usage.ts";
/** Anthropic's Messages API. */
export const messages: Dialect = {
  upstreamPath: "/messages",
  read,
  closerPromptBound,
  countPrompt: once(countPrompt),
  headers: (request, upstream) => ({ ...upstream.messagesHeaders, ...request.headers }),
  changes: (_request, _upstream, outputLimit): MemberChanges => (outputLimit === null ? {} : { max_tokens: String(outputLimit) }),
  isAnswer: ({ type, content }) => type !== "error" && Array.isArray(content),
  readUsage: readMessageUsage,
  countAnswer: countTexts(textsOf),
  watch: (_request, lane) => new MessagesMeter(lane),
};

const PRICED = pricedFields([
  "model",
  "messages",
  "system",
  "max_tokens",
  "stream",
  "thinking",
  "tools",
  "cache_control",
  "service_tier",
  "speed",
  "inference_geo",
  "container",
  "mcp_servers",
  "context_management",
  "fallbacks",
  "thread",
  "previous_message_id",
  "diagnostics",
]);

function read(text: string, header: HeaderReader): CompletionRequest {
  const begun = begin(text, PRICED, "chat");
  const { body, model } = begun;
  requireDoor(model, "/v1/messages");
  readMessages(body);
  const limit = readOutputLimit(begun, ["max_tokens"], 0);
  if (limit.askedOutput === null) throw wrong("max_tokens", "`max_tokens` must say how long the answer may be.");
  const thinking = readObject(body, "thinking");
  const headers = readHeaders(header);
  refuseWhatHasNoPrice(body);
  const { parts, cacheWrites } = lookThrough(body);
  refuseUnpricedCache(cacheWrites, model);
  const instructions = instructionsOf(body, text);
  return {
    ...begun,
    ...limit,
    choices: 1,
    limitIsOwn: false,
    // A budget for thinking has to fit within the limit, or the provider refuses the request.
    leastOutput:
      LEAST_OUTPUT + (thinking?.type === "enabled" ? (readInteger(thinking, "budget_tokens", 0, Number.MAX_SAFE_INTEGER) ?? 0) : 0),
    parts,
    instructions,
    promptBound: boundByBytes(text, parts, instructions, model),
    cacheWrites,
    predictionBytes: 0,
    // Thinking is billed in full, and shown as a summary or not at all.
    onlyProviderCounts:
      model.reasoning === true || (thinking !== null && thinking.type !== "disabled") || parts.images > 0 || parts.unbounded,
    headers,
  };
}

/** The first is meant without the header. Both report usage alike; another might not. */
const VERSIONS = ["2023-06-01", "2026-10-21"];

/** Betas that change neither what a token costs nor where a request is kept. */
const BETAS: ReadonlySet<string> = new Set([
  "prompt-caching-2024-07-31",
  "pdfs-2024-09-25",
  "output-128k-2025-02-19",
  "token-efficient-tools-2025-02-19",
  "extended-cache-ttl-2025-04-11",
  "dev-full-thinking-2025-05-14",
  "interleaved-thinking-2025-05-14",
  "fine-grained-tool-streaming-2025-05-14",
  "model-context-window-exceeded-2025-08-26",
  "structured-outputs-2025-11-13",
]);

function readHeaders(header: HeaderReader): Record<string, string> {
  const asked = header("anthropic-version")?.trim() ?? VERSIONS[0];
  const version = VERSIONS.find((known) => known === asked);
  if (version === undefined)
    throw wrong("anthropic-version", `This server knows the versions ${VERSIONS.join(" and ")} of the Messages API.`);
  const betas = (header("anthropic-beta") ?? "")
    .split(",")
    .map((beta) => beta.trim())
    .filter((beta) => beta !== "");
  const unknown = betas.find((beta) => !BETAS.has(beta));
  if (unknown !== undefined)
    throw wrong("anthropic-beta", `The beta "${unknown.slice(0, 100)}" is not available here: it can change what a request costs.`);
  return { "anthropic-version": version, ...(betas.length === 0 ? {} : { "anthropic-beta": betas.join(",") }) };
}

const REFUSED: Readonly<Record<string, string>> = {
  container: "containers are billed by the hour and kept in an account that all apps share.",
  mcp_servers: "what remote tools cost has no price here.",
  context_management: "it can call the model more often than the usage tells.",
  fallbacks: "another model has other prices.",
  thread: SHARED,
  previous_message_id: SHARED,
  diagnostics: SHARED,
};

function refuseWhatHasNoPrice(body: Body): void {
  refuseMembers(body, REFUSED);
  refuseTiers(body, ["auto", "standard_only"]);
  if ((body.speed ?? "standard") !== "standard") throw notAvailable("speed", "this speed has prices of its own.");
  if ((body.inference_geo ?? "global") !== "global") throw notAvailable("inference_geo", "regions have prices of their own.");
  readTools(body, (tool) => isOwnTool(tool) || isClientTool(tool), "tools that your app runs (its own, bash, text_editor and memory)");
}

function isOwnTool(tool: unknown): boolean {
  return isObject(tool) && (tool.type ?? "custom") === "custom";
}

/** Anthropic has written what the model reads of these tools; the app runs them. */
function isClientTool(tool: unknown): boolean {
  return isObject(tool) && typeof tool.type === "string" && /^(bash|text_editor|memory)_\d{8}$/.test(tool.type);
}

/**
 * What Anthropic adds of its own: a page in front of tools, the description of each tool that
 * it wrote itself, and a page each for answers in a given form and for citations.
 */
function instructionsOf(body: Body, text: string): number {
  const clientTools = Array.isArray(body.tools) ? body.tools.filter(isClientTool).length : 0;
  const isFormed = (body.output_format ?? null) !== null || (isObject(body.output_config) && (body.output_config.format ?? null) !== null);
  const cites = /"citations"\s*:/.test(text);
  return toolInstructions(body) + clientTools * 2_000 + (isFormed ? 1_000 : 0) + (cites ? 1_000 : 0);
}

/** A model of the operator's own may have no prices for the prompt cache. */
function refuseUnpricedCache(writes: CacheWrites, { id, price }: Model): void {
  if (writes === "none") return;
  if (
    price.cachedInput === undefined ||
    price.cacheWriteInput === undefined ||
    (writes === "long" && price.longCacheWriteInput === undefined)
  )
    throw notAvailable("cache_control", `${id} has no listed price for it.`);
}

type Found = { parts: Parts; cacheWrites: CacheWrites };

/** What of a request is more than text, and what it has cached. Throws for what only the provider knows. */
function lookThrough(body: Body): Found {
  const found: Found = { parts: noParts(), cacheWrites: "none" };
  noteCache(body, found);
  if (Array.isArray(body.tools)) for (const tool of body.tools) noteCache(tool, found);
  lookAt(body.system, found);
  for (const message of body.messages as Body[]) lookAt(message.content, found);
  return found;
}

function lookAt(content: unknown, found: Found): void {
  if (!Array.isArray(content)) return;
  for (const block of content as unknown[]) {
    if (!isObject(block)) continue;
    noteCache(block, found);
    switch (block.type) {
      case "image":
        lookAtImage(block.source, found);
        break;
      case "document":
        lookAtDocument(block.source, found);
        break;
      case "tool_result":
      case "search_result":
        lookAt(block.content, found);
        break;
      case "container_upload":
        throw notAvailable("messages", "a file in a container is kept in an account that all apps share.");
      default:
        // Results of the provider's own tools may stand for more than their bytes, and name files.
        if (TEXT_BLOCKS.has(block.type)) break;
        if (JSON.stringify(block).includes('"file_id":')) throw fileRefused("messages");
        found.parts.unbounded = true;
    }
  }
}

const TEXT_BLOCKS: ReadonlySet<unknown> = new Set(["text", "thinking", "redacted_thinking", "tool_use"]);

function lookAtImage(source: unknown, found: Found): void {
  found.parts.images++;
  if (!isObject(source)) return;
  refuseFile(source);
  if (source.type !== "base64" || typeof source.data !== "string") return;
  found.parts.imageData.push(source.data);
}

/** The pages of a document are read as text and as images, so nobody here can bound them. */
function lookAtDocument(source: unknown, found: Found): void {
  if (!isObject(source)) return;
  refuseFile(source);
  if (source.type === "content") lookAt(source.content, found);
  else if (source.type !== "text") found.parts.unbounded = true;
}

function refuseFile(source: Body): void {
  if (source.type === "file" || "file_id" in source) throw fileRefused("messages");
}

function noteCache(holder: unknown, found: Found): void {
  if (!isObject(holder) || !isObject(holder.cache_control)) return;
  if ((holder.cache_control.ttl ?? "5m") !== "5m") found.cacheWrites = "long";
  else if (found.cacheWrites === "none") found.cacheWrites = "short";
}

/** For a stream whose first event, with the provider's own count, did not come. */
async function countPrompt(request: CompletionRequest, lane: string): Promise<number> {
  const { body } = request;
  const system = body.system === undefined ? [] : [{ role: "system", content: body.system }];
  const said = [...system, ...(body.messages as Body[])];
  if (said.every(({ content }) => isPlainText(content))) return countPromptTokens({ messages: said, tools: body.tools }, { lane });
  return tokensOfBody(request, lane);
}

function isPlainText(content: unknown): boolean {
  return typeof content === "string" || (Array.isArray(content) && content.every((block) => isObject(block) && block.type === "text"));
}

function textsOf({ content }: Body): string[] {
  const written: string[] = [];
  for (const block of Array.isArray(content) ? (content as unknown[]) : []) {
    if (!isObject(block)) continue;
    for (const text of [block.text, block.thinking, block.name]) if (typeof text === "string") written.push(text);
    if (block.input !== undefined) written.push(JSON.stringify(block.input));
  }
  return written;
}
