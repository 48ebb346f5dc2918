/** OpenAI's Responses API: its requests read as chat requests, and completions in its JSON and events. */

import type { Choice, Completion } from "./completion.ts";
import { writtenTokens } from "./completion.ts";
import { ApiError, isRecord, missing, readBoolean, readInteger, wrongType } from "./fields.ts";
import { type ChatMessage, type ChatRequest, type FunctionTool, MOST_TOKENS, readBody, readModel } from "./request.ts";

/** @throws ApiError 400 that names the first field that is missing or wrong. */
export function readResponsesRequest(body: unknown): ChatRequest {
  const fields = readBody(body);
  const model = readModel(fields);
  const tools = readTools(fields.tools);
  const items = readInput(fields.input);
  const instructions = typeof fields.instructions === "string" ? [{ role: "system", content: fields.instructions }] : [];
  return {
    model,
    messages: [...instructions, ...items].map(readItem),
    tools,
    toolChoice: readToolChoice(fields.tool_choice, tools),
    parallelToolCalls: fields.parallel_tool_calls !== false,
    format: readFormat(fields.text),
    stream: readBoolean(fields, "stream"),
    includeUsage: false,
    n: 1,
    maxTokens: Math.min(readInteger(fields, "max_output_tokens", 1) ?? Infinity, MOST_TOKENS),
    stop: [],
    seed: 0,
    logprobs: false,
    topLogprobs: 0,
    prompt: { messages: [...instructions, ...items], tools: fields.tools },
    echo: {
      instructions: fields.instructions ?? null,
      max_output_tokens: fields.max_output_tokens ?? null,
      metadata: fields.metadata ?? {},
      parallel_tool_calls: fields.parallel_tool_calls ?? true,
      store: fields.store ?? true,
      temperature: fields.temperature ?? 1,
      text: fields.text ?? { format: { type: "text" } },
      tool_choice: fields.tool_choice ?? "auto",
      tools: fields.tools ?? [],
      top_p: fields.top_p ?? 1,
    },
  };
}

/** The body of an answer that is not streamed. */
export function responseJson(completion: Completion) {
  const end = isCut(completion) ? "incomplete" : "completed";
  return responseOf(completion, end, itemsOf(completion).map(finished));
}

/** The events of a streamed answer, in order. `tokens` is how many were made since the event before. */
export function* responseEvents(completion: Completion): Generator<{ tokens: number; text: string }> {
  let sequence_number = 0;
  const event = (type: string, data: object, tokens = 0) => ({
    tokens,
    text: `event: ${type}\ndata: ${JSON.stringify({ type, sequence_number: sequence_number++, ...data })}\n\n`,
  });
  yield event("response.created", { response: responseOf(completion, "in_progress", []) });
  yield event("response.in_progress", { response: responseOf(completion, "in_progress", []) });
  for (const [output_index, item] of itemsOf(completion).entries()) {
    const place = { item_id: item.id, output_index };
    const done = finished(item);
    yield event("response.output_item.added", { output_index, item: begun(item) }, item.kind === "call" ? item.nameTokens : 0);
    if (item.kind === "call") {
      for (const { text, tokens } of item.pieces) yield event("response.function_call_arguments.delta", { ...place, delta: text }, tokens);
      yield event("response.function_call_arguments.done", { ...place, name: item.name, arguments: textOf(item) });
    } else {
      const part = { ...place, content_index: 0 };
      yield event("response.content_part.added", { ...part, part: outputText("") });
      for (const { text, tokens } of item.pieces) yield event("response.output_text.delta", { ...part, delta: text, logprobs: [] }, tokens);
      yield event("response.output_text.done", { ...part, text: textOf(item), logprobs: [] });
      yield event("response.content_part.done", { ...part, part: outputText(textOf(item)) });
    }
    yield event("response.output_item.done", { output_index, item: done });
  }
  const response = responseJson(completion);
  yield event(`response.${response.status}`, { response });
}

type Piece = { text: string; tokens: number };
/** What an answer is made of: a text, or the call of a function. */
type Item = { id: string; cut: boolean; pieces: Piece[] } & (
  | { kind: "text" }
  | { kind: "call"; callId: string; name: string; nameTokens: number }
);

function itemsOf(completion: Completion): Item[] {
  const items: Item[] = [];
  for (const piece of (completion.choices[0] as Choice).pieces) {
    const id = `${completion.id.replace("chatcmpl-", piece.kind === "text" ? "msg_" : "fc_")}${items.length}`;
    if (piece.kind === "call")
      items.push({ kind: "call", id, cut: false, pieces: [], callId: piece.id, name: piece.name, nameTokens: piece.tokens });
    else {
      if (piece.kind === "text" && items.at(-1)?.kind !== "text") items.push({ kind: "text", id, cut: false, pieces: [] });
      items.at(-1)?.pieces.push({ text: piece.text, tokens: piece.tokens });
    }
  }
  const last = items.at(-1);
  if (last !== undefined) last.cut = isCut(completion);
  return items;
}

function isCut({ choices }: Completion): boolean {
  return choices[0]?.finishReason === "length";
}

function textOf({ pieces }: Item): string {
  return pieces.map(({ text }) => text).join("");
}

function begun(item: Item) {
  const status = "in_progress";
  return item.kind === "text"
    ? { id: item.id, type: "message", status, role: "assistant", content: [] }
    : { id: item.id, type: "function_call", status, call_id: item.callId, name: item.name, arguments: "" };
}

function finished(item: Item) {
  const status = item.cut ? "incomplete" : "completed";
  return item.kind === "text"
    ? { ...begun(item), status, content: [outputText(textOf(item))] }
    : { ...begun(item), status, arguments: textOf(item) };
}

function outputText(text: string) {
  return { type: "output_text", text, annotations: [], logprobs: [] };
}

function responseOf(completion: Completion, status: "in_progress" | "completed" | "incomplete", output: object[]) {
  const written = writtenTokens(completion);
  return {
    id: completion.id.replace("chatcmpl-", "resp_"),
    object: "response",
    created_at: completion.created,
    status,
    error: null,
    incomplete_details: status === "incomplete" ? { reason: "max_output_tokens" } : null,
    model: completion.request.model,
    output,
    previous_response_id: null,
    service_tier: "default",
    ...completion.request.echo,
    usage:
      status === "in_progress"
        ? null
        : {
            input_tokens: completion.promptTokens,
            input_tokens_details: { cached_tokens: 0, cache_write_tokens: 0 },
            output_tokens: written,
            output_tokens_details: { reasoning_tokens: 0 },
            total_tokens: completion.promptTokens + written,
          },
  };
}

function readInput(input: unknown): Record<string, unknown>[] {
  if (input === undefined || input === null) throw missing("input");
  if (typeof input === "string") return [{ role: "user", content: input }];
  if (!Array.isArray(input)) throw wrongType("input", "a string or an array of objects", input);
  return input.filter((item: unknown, index) => {
    if (!isRecord(item)) throw wrongType(`input[${index}]`, "an object", item);
    return item.type !== "reasoning";
  });
}

const ROLES = ["system", "developer", "user", "assistant"] as const;

function readItem(item: Record<string, unknown>, index: number): ChatMessage {
  switch (item.type) {
    case "function_call":
    case "custom_tool_call":
      return { role: "assistant", text: "", attachments: [], toolCalls: [{ id: String(item.call_id), name: String(item.name) }] };
    case "function_call_output":
    case "custom_tool_call_output":
      return { role: "tool", ...readContent(item.output, `input[${index}].output`), toolCalls: [], toolCallId: String(item.call_id) };
  }
  const role = ROLES.find((one) => one === item.role);
  if (role === undefined) throw new ApiError(400, `Invalid value for 'input[${index}].role'.`, { param: `input[${index}].role` });
  return { role, ...readContent(item.content, `input[${index}].content`), toolCalls: [] };
}

const ATTACHMENTS: Readonly<Record<string, string>> = { input_image: "image_url", input_file: "file" };

function readContent(content: unknown, param: string): { text: string; attachments: string[] } {
  if (typeof content === "string") return { text: content, attachments: [] };
  if (content === undefined) throw missing(param);
  if (!Array.isArray(content)) throw wrongType(param, "a string or an array of objects", content);
  const texts: string[] = [];
  const attachments: string[] = [];
  for (const part of content as unknown[]) {
    if (!isRecord(part) || typeof part.type !== "string") throw wrongType(param, "parts with a type", part);
    const attachment = ATTACHMENTS[part.type];
    if (attachment !== undefined) attachments.push(attachment);
    else if (typeof part.text === "string") texts.push(part.text);
  }
  return { text: texts.join("\n"), attachments };
}

function readTools(tools: unknown): FunctionTool[] {
  if (tools === undefined || tools === null) return [];
  if (!Array.isArray(tools)) throw wrongType("tools", "an array of objects", tools);
  return tools.flatMap((tool: unknown, index) => {
    if (!isRecord(tool)) throw wrongType(`tools[${index}]`, "an object", tool);
    if (tool.type !== "function") return [];
    if (typeof tool.name !== "string") throw missing(`tools[${index}].name`);
    const description = typeof tool.description === "string" ? tool.description : "";
    const parameters = tool.parameters ?? { type: "object", properties: {} };
    return [{ name: tool.name, description, parameters, param: `tools[${index}].parameters` }];
  });
}

function readToolChoice(choice: unknown, tools: FunctionTool[]): ChatRequest["toolChoice"] {
  if (choice === "none" || choice === "required") return { mode: choice };
  if (!isRecord(choice) || choice.type !== "function") return { mode: "auto" };
  if (!tools.some((tool) => tool.name === choice.name))
    throw new ApiError(400, "Tool choice 'function' not found in 'tools' parameter.", { param: "tool_choice" });
  return { mode: "required", only: String(choice.name) };
}

function readFormat(text: unknown): ChatRequest["format"] {
  const format = isRecord(text) ? text.format : undefined;
  if (!isRecord(format) || format.type === "text") return { type: "text" };
  return format.type === "json_schema" ? { type: "json_schema", schema: format.schema ?? {} } : { type: "json_object" };
}
