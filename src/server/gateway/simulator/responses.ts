/** OpenAI's Responses API: reads its requests as chat requests, and writes completions in its JSON and events. */

import type { Choice, Completion } from "./completion.ts";
import { reasonedTokens, writtenTokens } from "./completion.ts";
import { ApiError, isRecord, missing, readBoolean, readInteger, wrongType } from "./fields.ts";
import { type ChatMessage, type ChatRequest, type FunctionTool, MOST_TOKENS, readBody, readModel } from "./request.ts";
import { isSignedThought, reasonsBy, signedThought, type Thought } from "./thought.ts";

/** @throws ApiError 400 that names the first field that is missing or wrong. */
export function readResponsesRequest(body: unknown): ChatRequest {
  const fields = readBody(body);
  const model = readModel(fields);
  const items = readInput(fields.input);
  const added = items.flatMap((item) => (item.type === "additional_tools" || item.type === "tool_search_output" ? [item.tools] : []));
  const tools = [fields.tools, ...added].flatMap((each) => readTools(each));
  const instructions = typeof fields.instructions === "string" ? [{ role: "system", content: fields.instructions }] : [];
  return {
    model,
    messages: [...instructions, ...items.filter(({ type }) => !ITEMS_WITHOUT_TEXT.has(type))].map(readItem),
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
    reasoning: readReasoning(model, fields.reasoning),
    mostReasoning: Infinity,
    cache: "automatic",
    prompt: { messages: [...instructions, ...items], tools: fields.tools },
    encryptsReasoning: Array.isArray(fields.include) && fields.include.includes("reasoning.encrypted_content"),
    echo: {
      instructions: fields.instructions ?? null,
      max_output_tokens: fields.max_output_tokens ?? null,
      metadata: fields.metadata ?? {},
      parallel_tool_calls: fields.parallel_tool_calls ?? true,
      reasoning: fields.reasoning ?? { effort: null, summary: null },
      store: fields.store ?? true,
      temperature: fields.temperature ?? 1,
      text: fields.text ?? { format: { type: "text" } },
      tool_choice: fields.tool_choice ?? "auto",
      tools: fields.tools ?? [],
      top_p: fields.top_p ?? 1,
    },
  };
}

function readReasoning(model: string, reasoning: unknown): ChatRequest["reasoning"] {
  const asked = isRecord(reasoning) ? reasoning : {};
  if (!reasonsBy(model, asked.effort)) return "none";
  return (asked.summary ?? null) === null ? "hidden" : "shown";
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
    if (item.kind === "reasoning") yield* reasoningEvents(item, place, event);
    else if (item.kind === "call") {
      yield* callEvents(item, place, event);
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

type Sent = { tokens: number; text: string };
type MakeEvent = (type: string, data: object, tokens?: number) => Sent;

function* callEvents(item: Item & { kind: "call" }, place: object, event: MakeEvent): Generator<Sent> {
  const text = textOf(item);
  if (!item.custom) {
    for (const piece of item.pieces) yield event("response.function_call_arguments.delta", { ...place, delta: piece.text }, piece.tokens);
    yield event("response.function_call_arguments.done", { ...place, name: item.name, arguments: text });
    return;
  }
  const tokens = item.pieces.reduce((sum, piece) => sum + piece.tokens, 0);
  yield event("response.custom_tool_call_input.delta", { ...place, delta: inputOf(text) }, tokens);
  yield event("response.custom_tool_call_input.done", { ...place, input: inputOf(text) });
}

function* reasoningEvents({ shown, thought }: Item & { kind: "reasoning" }, place: object, event: MakeEvent): Generator<Sent> {
  if (!shown) return;
  const part = { ...place, summary_index: 0 };
  yield event("response.reasoning_summary_part.added", { ...part, part: { type: "summary_text", text: "" } });
  yield event("response.reasoning_summary_text.delta", { ...part, delta: thought.text }, thought.tokens);
  yield event("response.reasoning_summary_text.done", { ...part, text: thought.text });
  yield event("response.reasoning_summary_part.done", { ...part, part: { type: "summary_text", text: thought.text } });
}

type Piece = { text: string; tokens: number };
/** An output item: reasoning, a message, or a function call. */
type Item = { id: string; cut: boolean; pieces: Piece[] } & (
  | { kind: "reasoning"; thought: Thought; shown: boolean; encrypted: boolean }
  | { kind: "text" }
  | { kind: "call"; custom: boolean; namespace: string | undefined; callId: string; name: string; nameTokens: number }
);

function itemsOf(completion: Completion): Item[] {
  const items: Item[] = [];
  const { thought, pieces } = completion.choices[0] as Choice;
  const { request } = completion;
  if (thought !== undefined) {
    const id = `${completion.id.replace("chatcmpl-", "rs_")}0`;
    const about = { thought, shown: request.reasoning === "shown", encrypted: request.encryptsReasoning === true };
    items.push({ kind: "reasoning", id, cut: false, pieces: [], ...about });
  }
  for (const piece of pieces) {
    const id = `${completion.id.replace("chatcmpl-", piece.kind === "text" ? "msg_" : "fc_")}${items.length}`;
    if (piece.kind === "call")
      items.push({
        kind: "call",
        id,
        cut: false,
        pieces: [],
        callId: piece.id,
        name: piece.name,
        nameTokens: piece.tokens,
        ...toolOf(request, piece.name),
      });
    else {
      if (piece.kind === "text" && items.at(-1)?.kind !== "text") items.push({ kind: "text", id, cut: false, pieces: [] });
      items.at(-1)?.pieces.push({ text: piece.text, tokens: piece.tokens });
    }
  }
  const last = items.at(-1);
  if (last !== undefined) last.cut = isCut(completion);
  return items;
}

function toolOf({ tools }: ChatRequest, name: string): { custom: boolean; namespace: string | undefined } {
  const tool = tools.find((one) => one.name === name);
  return { custom: tool?.custom === true, namespace: tool?.namespace };
}

function isCut({ choices }: Completion): boolean {
  return choices[0]?.finishReason === "length";
}

function textOf({ pieces }: Item): string {
  return pieces.map(({ text }) => text).join("");
}

function begun(item: Item) {
  const status = "in_progress";
  switch (item.kind) {
    case "reasoning":
      return { id: item.id, type: "reasoning", summary: [] };
    case "text":
      return { id: item.id, type: "message", status, role: "assistant", content: [] };
    default: {
      const call = { call_id: item.callId, name: item.name, ...(item.namespace === undefined ? {} : { namespace: item.namespace }) };
      return item.custom
        ? { id: item.id, type: "custom_tool_call", status, ...call, input: "" }
        : { id: item.id, type: "function_call", status, ...call, arguments: "" };
    }
  }
}

function finished(item: Item) {
  const status = item.cut ? "incomplete" : "completed";
  switch (item.kind) {
    case "reasoning":
      return {
        ...begun(item),
        summary: item.shown ? [{ type: "summary_text", text: item.thought.text }] : [],
        ...(item.encrypted ? { encrypted_content: signedThought(item.thought) } : {}),
      };
    case "text":
      return { ...begun(item), status, content: [outputText(textOf(item))] };
    default:
      return { ...begun(item), status, ...(item.custom ? { input: inputOf(textOf(item)) } : { arguments: textOf(item) }) };
  }
}

/** The input of a custom tool is text, not JSON: the value of the sample's only member. */
function inputOf(text: string): string {
  try {
    return String((JSON.parse(text) as { input?: unknown }).input ?? text);
  } catch {
    return text;
  }
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
            input_tokens_details: { cached_tokens: completion.cached.read, cache_write_tokens: 0 },
            output_tokens: written,
            output_tokens_details: { reasoning_tokens: reasonedTokens(completion) },
            total_tokens: completion.promptTokens + written,
          },
  };
}

function readInput(input: unknown): Record<string, unknown>[] {
  if (input === undefined || input === null) throw missing("input");
  if (typeof input === "string") return [{ role: "user", content: input }];
  if (!Array.isArray(input)) throw wrongType("input", "a string or an array of objects", input);
  return input.map((item: unknown, index) => {
    if (!isRecord(item)) throw wrongType(`input[${index}]`, "an object", item);
    if (item.type === "reasoning" && !isSignedThought(item.encrypted_content))
      throw new ApiError(400, `The encrypted content for item ${String(item.id).slice(0, 100)} could not be verified.`, {
        code: "invalid_encrypted_content",
      });
    return item;
  });
}

/** Types of input items that have no text for the rules of answers, and are therefore not read as messages. */
const ITEMS_WITHOUT_TEXT: ReadonlySet<unknown> = new Set(["reasoning", "additional_tools", "tool_search_call", "tool_search_output"]);

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

/** The function and custom tools of a list, including those in namespaces. */
function readTools(tools: unknown, namespace?: string): FunctionTool[] {
  if (tools === undefined || tools === null) return [];
  if (!Array.isArray(tools)) throw wrongType("tools", "an array of objects", tools);
  return tools.flatMap((tool: unknown, index): FunctionTool[] => {
    if (!isRecord(tool)) throw wrongType(`tools[${index}]`, "an object", tool);
    if (tool.type === "namespace") return readTools(tool.tools, String(tool.name));
    if (tool.type !== "function" && tool.type !== "custom") return [];
    if (typeof tool.name !== "string") throw missing(`tools[${index}].name`);
    const description = typeof tool.description === "string" ? tool.description : "";
    const custom = tool.type === "custom";
    const parameters = custom ? CUSTOM_INPUT : (tool.parameters ?? { type: "object", properties: {} });
    const made = { name: tool.name, description, parameters, param: `tools[${index}].parameters`, custom };
    return [namespace === undefined ? made : { ...made, namespace }];
  });
}

const CUSTOM_INPUT = { type: "object", properties: { input: { type: "string" } }, required: ["input"] };

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
