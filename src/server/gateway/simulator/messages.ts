/** Anthropic's Messages API: reads its requests as chat requests, and writes completions in its JSON and events. */

import { type Choice, type Completion, reasonedTokens, writtenTokens } from "./completion.ts";
import { ApiError, isRecord, missing, readBoolean, readInteger, wrongType } from "./fields.ts";
import { type ChatMessage, type ChatRequest, type FunctionTool, MOST_TOKENS, readBody, readModel } from "./request.ts";
import { isSignedThought, signedThought } from "./thought.ts";

/** @throws ApiError 400 that names the first field that is missing or wrong. */
export function readMessagesRequest(body: unknown): ChatRequest {
  const fields = readBody(body);
  const model = readModel(fields);
  const maxTokens = readInteger(fields, "max_tokens", 0);
  if (maxTokens === undefined) throw missing("max_tokens");
  const tools = readTools(fields.tools);
  const choice = isRecord(fields.tool_choice) ? fields.tool_choice : {};
  return {
    model,
    messages: [...readSystem(fields.system), ...readMessages(fields.messages)],
    tools,
    toolChoice: readToolChoice(choice, tools),
    parallelToolCalls: choice.disable_parallel_tool_use !== true,
    format: readFormat(fields.output_config),
    stream: readBoolean(fields, "stream"),
    includeUsage: false,
    n: 1,
    maxTokens: Math.min(maxTokens, MOST_TOKENS),
    stop: Array.isArray(fields.stop_sequences) ? fields.stop_sequences.filter((one) => typeof one === "string" && one !== "") : [],
    seed: 0,
    logprobs: false,
    topLogprobs: 0,
    ...readThinking(fields.thinking, maxTokens),
    cache: cacheAskedFor(fields),
    prompt: {
      messages: [...(fields.system === undefined ? [] : [{ role: "system", content: fields.system }]), ...(fields.messages as unknown[])],
      tools: fields.tools,
    },
  };
}

function readThinking(thinking: unknown, maxTokens: number): Pick<ChatRequest, "reasoning" | "mostReasoning"> {
  if (!isRecord(thinking) || (thinking.type !== "enabled" && thinking.type !== "adaptive")) return { reasoning: "none", mostReasoning: 0 };
  const budget = readInteger(thinking, "budget_tokens", 1_024) ?? Infinity;
  if (thinking.type === "enabled" && budget >= maxTokens)
    throw new ApiError(400, "`max_tokens` must be greater than `thinking.budget_tokens`.", { param: "thinking.budget_tokens" });
  return { reasoning: thinking.display === "omitted" ? "hidden" : "shown", mostReasoning: budget };
}

/** Anthropic caches the prompt up to a `cache_control` mark. Here a mark at any place caches the whole prompt. */
function cacheAskedFor(fields: Record<string, unknown>): ChatRequest["cache"] {
  const text = JSON.stringify([fields.cache_control ?? null, fields.system ?? null, fields.tools ?? null, fields.messages ?? null]);
  if (fields.cache_control === undefined && !/"cache_control":\{/.test(text)) return "none";
  return /"ttl":"1h"/.test(text) ? "asked for long" : "asked";
}

/** The body of an answer that is not streamed. */
export function messageJson(completion: Completion) {
  const choice = completion.choices[0] as Choice;
  const content = [...thinkingBlocks(completion, choice), ...contentOf(choice)];
  return { ...head(completion), content, ...endOf(choice), usage: usageOf(completion, writtenTokens(completion)) };
}

/** The events of a streamed answer, in order. `tokens` is how many were made since the event before. */
export function* messageEvents(completion: Completion): Generator<{ tokens: number; text: string }> {
  const choice = completion.choices[0] as Choice;
  const event = (type: string, data: object, tokens = 0) => ({
    tokens,
    text: `event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`,
  });
  yield event("message_start", {
    message: { ...head(completion), content: [], stop_reason: null, stop_sequence: null, usage: usageOf(completion, 1) },
  });
  let index = -1;
  let open = false;
  if (choice.thought !== undefined) {
    index += 1;
    const delta = (data: object, tokens = 0) => event("content_block_delta", { index, delta: data }, tokens);
    yield event("content_block_start", { index, content_block: { type: "thinking", thinking: "", signature: "" } });
    if (completion.request.reasoning === "shown")
      yield delta({ type: "thinking_delta", thinking: choice.thought.text }, choice.thought.tokens);
    yield delta(
      { type: "signature_delta", signature: signedThought(choice.thought) },
      completion.request.reasoning === "shown" ? 0 : choice.thought.tokens,
    );
    yield event("content_block_stop", { index });
  }
  for (const piece of choice.pieces) {
    if (piece.kind === "call" || !open) {
      if (open) yield event("content_block_stop", { index });
      index += 1;
      open = true;
      const content_block =
        piece.kind === "call" ? { type: "tool_use", id: toolId(piece.id), name: piece.name, input: {} } : { type: "text", text: "" };
      yield event("content_block_start", { index, content_block }, piece.kind === "call" ? piece.tokens : 0);
    }
    if (piece.kind === "text") yield event("content_block_delta", { index, delta: { type: "text_delta", text: piece.text } }, piece.tokens);
    if (piece.kind === "arguments")
      yield event("content_block_delta", { index, delta: { type: "input_json_delta", partial_json: piece.text } }, piece.tokens);
  }
  if (open) yield event("content_block_stop", { index });
  yield event("message_delta", { delta: endOf(choice), usage: { output_tokens: writtenTokens(completion), ...thinkingOf(completion) } });
  yield event("message_stop", {});
}

/** The same error in Anthropic's envelope. */
export function messagesError(error: ApiError): ApiError {
  return new MessagesError(error.status, error.message);
}

class MessagesError extends ApiError {
  override toJSON(): object {
    const type = ERROR_TYPES[this.status] ?? (this.status < 500 ? "invalid_request_error" : "api_error");
    return { type: "error", error: { type, message: this.message } };
  }
}

const ERROR_TYPES: Readonly<Record<number, string>> = {
  401: "authentication_error",
  403: "permission_error",
  404: "not_found_error",
  413: "request_too_large",
  429: "rate_limit_error",
  504: "timeout_error",
  529: "overloaded_error",
};

function readSystem(system: unknown): ChatMessage[] {
  if (system === undefined || system === null) return [];
  return [{ role: "system", ...textOf(system, "system"), toolCalls: [] }];
}

function readMessages(messages: unknown): ChatMessage[] {
  if (messages === undefined || messages === null) throw missing("messages");
  if (!Array.isArray(messages)) throw wrongType("messages", "an array of objects", messages);
  return messages.flatMap((message: unknown, index): ChatMessage[] => {
    const param = `messages.${index}`;
    if (!isRecord(message)) throw wrongType(param, "an object", message);
    const { content } = message;
    const role = (["user", "assistant", "system"] as const).find((one) => one === message.role);
    if (role === undefined) throw new ApiError(400, `${param}.role: Input should be 'user' or 'assistant'`, { param: `${param}.role` });
    const blocks: unknown[] = typeof content === "string" ? [{ type: "text", text: content }] : readBlocks(content, `${param}.content`);
    for (const block of blocks) if (isRecord(block)) checkThinking(block, param);
    const results = blocks.filter((block) => isRecord(block) && block.type === "tool_result") as Record<string, unknown>[];
    const rest = blocks.filter((block) => !results.includes(block as Record<string, unknown>));
    return [
      ...results.map(
        (result): ChatMessage => ({
          role: "tool",
          ...textOf(result.content ?? "", `${param}.content`),
          toolCalls: [],
          toolCallId: String(result.tool_use_id),
        }),
      ),
      ...(rest.length > 0 || results.length === 0 ? [{ role, ...textOf(rest, param), toolCalls: callsIn(rest) }] : []),
    ];
  });
}

function checkThinking(block: Record<string, unknown>, param: string): void {
  if (block.type === "thinking" && !isSignedThought(block.signature))
    throw new ApiError(400, `${param}.content: Invalid \`signature\` in \`thinking\` block`, { param });
}

function readBlocks(content: unknown, param: string): unknown[] {
  if (content === undefined) throw missing(param);
  if (!Array.isArray(content)) throw wrongType(param, "a string or an array of objects", content);
  return content;
}

const ATTACHMENTS: Readonly<Record<string, string>> = { image: "image_url", document: "file" };

function textOf(content: unknown, param: string): { text: string; attachments: string[] } {
  if (typeof content === "string") return { text: content, attachments: [] };
  const texts: string[] = [];
  const attachments: string[] = [];
  for (const block of readBlocks(content, param)) {
    if (!isRecord(block) || typeof block.type !== "string") throw wrongType(param, "blocks with a type", block);
    if (block.type === "text") texts.push(String(block.text));
    const attachment = ATTACHMENTS[block.type];
    if (attachment !== undefined) attachments.push(attachment);
  }
  return { text: texts.join("\n"), attachments };
}

function callsIn(blocks: unknown[]): { id: string; name: string }[] {
  return blocks.flatMap((block) =>
    isRecord(block) && block.type === "tool_use" ? [{ id: String(block.id), name: String(block.name) }] : [],
  );
}

function readTools(tools: unknown): FunctionTool[] {
  if (tools === undefined || tools === null) return [];
  if (!Array.isArray(tools)) throw wrongType("tools", "an array of objects", tools);
  return tools.flatMap((tool: unknown, index) => {
    if (!isRecord(tool)) throw wrongType(`tools.${index}`, "an object", tool);
    if (typeof tool.name !== "string") throw missing(`tools.${index}.name`);
    // The simulator has no schemas of Anthropic's own tools, so it never calls them.
    if ((tool.type ?? "custom") !== "custom") return [];
    if (!isRecord(tool.input_schema)) throw missing(`tools.${index}.input_schema`);
    const description = typeof tool.description === "string" ? tool.description : "";
    return [{ name: tool.name, description, parameters: tool.input_schema, param: `tools.${index}.input_schema` }];
  });
}

function readToolChoice(choice: Record<string, unknown>, tools: FunctionTool[]): ChatRequest["toolChoice"] {
  if (choice.type === "none") return { mode: "none" };
  if (choice.type === "any") return { mode: "required" };
  if (choice.type !== "tool") return { mode: "auto" };
  if (!tools.some((tool) => tool.name === choice.name))
    throw new ApiError(400, `Tool '${String(choice.name).slice(0, 100)}' not found in provided tools`, { param: "tool_choice" });
  return { mode: "required", only: String(choice.name) };
}

function readFormat(config: unknown): ChatRequest["format"] {
  const format = isRecord(config) ? config.format : undefined;
  return isRecord(format) && format.type === "json_schema" ? { type: "json_schema", schema: format.schema ?? {} } : { type: "text" };
}

function head({ id, request }: Completion) {
  return { id: id.replace("chatcmpl-", "msg_"), type: "message", role: "assistant", model: request.model };
}

function contentOf(choice: Choice): object[] {
  const blocks: ({ type: "text"; text: string } | { type: "tool_use"; id: string; name: string; input: string })[] = [];
  for (const piece of choice.pieces) {
    const last = blocks.at(-1);
    if (piece.kind === "call") blocks.push({ type: "tool_use", id: toolId(piece.id), name: piece.name, input: "" });
    else if (piece.kind === "arguments" && last?.type === "tool_use") last.input += piece.text;
    else if (piece.kind === "text" && last?.type === "text") last.text += piece.text;
    else if (piece.kind === "text") blocks.push({ type: "text", text: piece.text });
  }
  return blocks.map((block) => (block.type === "tool_use" ? { ...block, input: inputOf(block.input) } : block));
}

function thinkingBlocks({ request }: Completion, { thought }: Choice): object[] {
  if (thought === undefined) return [];
  return [{ type: "thinking", thinking: request.reasoning === "shown" ? thought.text : "", signature: signedThought(thought) }];
}

/** The output limit may have cut the JSON text. */
function inputOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

function toolId(id: string): string {
  return id.replace("call_", "toolu_");
}

const STOP_REASONS = { stop: "end_turn", length: "max_tokens", tool_calls: "tool_use" } as const;

function endOf({ finishReason, stoppedBy }: Choice) {
  return stoppedBy === undefined
    ? { stop_reason: STOP_REASONS[finishReason], stop_sequence: null }
    : { stop_reason: "stop_sequence", stop_sequence: stoppedBy };
}

function usageOf(completion: Completion, outputTokens: number) {
  const { promptTokens, cached, request } = completion;
  const long = request.cache === "asked for long" ? cached.written : 0;
  return {
    input_tokens: promptTokens - cached.read - cached.written,
    cache_creation_input_tokens: cached.written,
    cache_read_input_tokens: cached.read,
    cache_creation: { ephemeral_5m_input_tokens: cached.written - long, ephemeral_1h_input_tokens: long },
    output_tokens: outputTokens,
    ...thinkingOf(completion),
    service_tier: "standard",
  };
}

function thinkingOf(completion: Completion): object {
  return completion.request.reasoning === "none" ? {} : { output_tokens_details: { thinking_tokens: reasonedTokens(completion) } };
}
