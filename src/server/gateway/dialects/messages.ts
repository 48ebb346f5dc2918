import type { Model } from "../../pricing/models.ts";
import type { CacheWrites } from "../../pricing/price.ts";
import { countPromptTokens } from "../../pricing/tokens.ts";
import { type Body, type CompletionRequest, type Dialect, type HeaderReader, LEAST_OUTPUT, type Parts } from "./dialect.ts";
import { requireEndpoint } from "./endpoints.ts";
import type { MemberChanges } from "./json-text.ts";
import { MessagesMeter } from "./messages-meter.ts";
import { instructionsOf, readHeaders, refuseUnpriced, requirePricedTool } from "./messages-price.ts";
import { boundByBytes, closerPromptBound, countTexts, memoized, noParts, tokensOfBody } from "./prompt.ts";
import { badRequest, isObject, pricedFields, readCommon, readInteger, readMessages, readObject, readOutputLimit } from "./read.ts";
import { fileRefused, notAvailable } from "./refuse.ts";
import { readMessageUsage } from "./usage.ts";
/** Anthropic's Messages API. */
export const messages: Dialect = {
  upstreamPath: "/messages",
  read,
  closerPromptBound,
  countPrompt: memoized(countPrompt),
  headers: (request, upstream) => ({ ...upstream.messagesHeaders, ...request.headers }),
  changes: (_request, _upstream, outputLimit): MemberChanges => (outputLimit === null ? {} : { max_tokens: String(outputLimit) }),
  isAnswer: ({ type, content }) => type !== "error" && Array.isArray(content),
  readUsage: readMessageUsage,
  countAnswer: countTexts(textsOf),
  watch: (_request, lane) => new MessagesMeter(lane),
};

/** The API that counts a prompt's tokens. */
export const messagesCount: Dialect = {
  ...messages,
  upstreamPath: "/messages/count_tokens",
  read: (text, header) => read(text, header, { needsLimit: false }),
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
  "compaction",
  "billing_policy",
  "fallback_credit_token",
]);

function read(text: string, header: HeaderReader, { needsLimit } = { needsLimit: true }): CompletionRequest {
  const common = readCommon(text, PRICED, "chat");
  const { body, model } = common;
  requireEndpoint(model, "/v1/messages");
  readMessages(body);
  const limit = readOutputLimit(common, ["max_tokens"], 0);
  if (needsLimit && limit.askedOutput === null) throw badRequest("max_tokens", "`max_tokens` must say how long the answer may be.");
  const thinking = readObject(body, "thinking");
  const headers = readHeaders(header, model);
  refuseUnpriced(body, model, headers);
  const { parts, cacheWrites, references, addedTools } = findParts(body);
  refuseUnpricedCache(cacheWrites, model);
  const instructions = instructionsOf(body, text, { references, addedTools });
  return {
    ...common,
    ...limit,
    choices: 1,
    isLimitChosen: false,
    // The provider refuses an output limit below the thinking budget.
    leastOutput:
      LEAST_OUTPUT + (thinking?.type === "enabled" ? (readInteger(thinking, "budget_tokens", 0, Number.MAX_SAFE_INTEGER) ?? 0) : 0),
    parts,
    instructions,
    promptBound: boundByBytes(text, parts, instructions, model),
    cacheWrites,
    predictionBytes: 0,
    // Thinking is billed in full, but the answer has only a summary of it, or nothing.
    onlyProviderCounts:
      model.reasoning === true || (thinking !== null && thinking.type !== "disabled") || parts.images > 0 || parts.unbounded,
    headers,
  };
}

/** Refuses cache writes when the model, which may be the operator's own, has no price for them. */
function refuseUnpricedCache(writes: CacheWrites, { id, price }: Model): void {
  if (writes === "none") return;
  if (
    price.cachedInput === undefined ||
    price.cacheWriteInput === undefined ||
    (writes === "long" && price.longCacheWriteInput === undefined)
  )
    throw notAvailable("cache_control", `${id} has no listed price for it.`);
}

type Found = {
  parts: Parts;
  cacheWrites: CacheWrites;
  /** How many blocks refer to a tool, at each of which the provider inserts its definition. */
  references: number;
  /** Tools that blocks of the conversation define. */
  addedTools: unknown[];
};

/** Finds the parts of a request that are not text, its cache marks and its tools. Throws `bad_request` for references to data stored at the provider. */
function findParts(body: Body): Found {
  const found: Found = { parts: noParts(), cacheWrites: "none", references: 0, addedTools: [] };
  noteCache(body, found);
  if (Array.isArray(body.tools)) for (const tool of body.tools) noteCache(tool, found);
  scanContent(body.system, found);
  for (const message of body.messages as Body[]) scanContent(message.content, found);
  return found;
}

function scanContent(content: unknown, found: Found): void {
  if (!Array.isArray(content)) return;
  for (const block of content as unknown[]) {
    if (!isObject(block)) continue;
    noteCache(block, found);
    switch (block.type) {
      case "image":
        scanImage(block.source, found);
        break;
      case "document":
        scanDocument(block.source, found);
        break;
      case "tool_result":
      case "search_result":
        scanContent(block.content, found);
        break;
      case "tool_reference":
        found.references++;
        break;
      case "tool_addition":
        scanAddedTool(block.tool, found);
        break;
      case "container_upload":
        throw notAvailable("messages", "a file in a container is kept in an account that all apps share.");
      default:
        // Results of the provider's own tools may refer to files, and may have more tokens than bytes here.
        if (TEXT_BLOCKS.has(block.type)) break;
        if (JSON.stringify(block).includes('"file_id":')) throw fileRefused("messages");
        found.parts.unbounded = true;
    }
  }
}

const TEXT_BLOCKS: ReadonlySet<unknown> = new Set(["text", "thinking", "redacted_thinking", "tool_use", "tool_removal"]);

/** A block that adds a tool to the conversation: it defines the tool, or refers to one of the request's. */
function scanAddedTool(tool: unknown, found: Found): void {
  if (isObject(tool) && tool.type === "tool_definition") {
    requirePricedTool(tool.definition, "messages");
    noteCache(tool.definition, found);
    found.addedTools.push(tool.definition);
  } else if (isObject(tool) && tool.type === "tool_reference") found.references++;
  else throw notAvailable("messages", "what tools of other servers cost has no price here.");
}

function scanImage(source: unknown, found: Found): void {
  found.parts.images++;
  if (!isObject(source)) return;
  refuseFile(source);
  if (source.type !== "base64" || typeof source.data !== "string") return;
  found.parts.imageData.push(source.data);
}

/** The provider reads a document's pages as text and as images, so only the model's context bounds its tokens. */
function scanDocument(source: unknown, found: Found): void {
  if (!isObject(source)) return;
  refuseFile(source);
  if (source.type === "content") scanContent(source.content, found);
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

/** Counts the prompt of an answer without usage, such as a stream that ended before `message_start`. */
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
