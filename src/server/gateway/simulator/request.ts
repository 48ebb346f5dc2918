import { ApiError, aOrAn, checkNumber, invalidValue, isRecord, missing, readBoolean, readInteger, wrongType } from "./fields.ts";
import { reasonsBy } from "./thought.ts";

/* Reads chat requests as strictly as OpenAI does, with OpenAI's error messages, so that developers see them before a provider is configured. */

export interface ChatMessage {
  role: "system" | "developer" | "user" | "assistant" | "tool" | "function";
  /** The text of the content, its text parts joined by line ends. */
  text: string;
  /** The types of the other parts, such as "image_url". */
  attachments: string[];
  toolCalls: { id: string; name: string }[];
  toolCallId?: string;
}

export interface FunctionTool {
  name: string;
  description: string;
  parameters: unknown;
  /** The function's path in the request, for error messages. */
  param: string;
  /** Whether the arguments are text instead of JSON. */
  custom?: boolean;
  /** The function's namespace, in the Responses API. */
  namespace?: string;
}

export interface ChatRequest {
  model: string;
  messages: ChatMessage[];
  tools: FunctionTool[];
  /** Whether tools may, must not or must be called; `only` names the one function that may be. */
  toolChoice: { mode: "auto" | "none" | "required"; only?: string };
  parallelToolCalls: boolean;
  format: { type: "text" } | { type: "json_object" } | { type: "json_schema"; schema: unknown };
  stream: boolean;
  includeUsage: boolean;
  /** How many choices. */
  n: number;
  /** Infinity if the request sets no limit. */
  maxTokens: number;
  stop: string[];
  seed: number;
  logprobs: boolean;
  topLogprobs: number;
  /** Whether the model reasons before it answers, and whether its reasoning is shown. */
  reasoning: "none" | "hidden" | "shown";
  /** Tokens of reasoning, at most; Infinity if the request sets no budget. */
  mostReasoning: number;
  /** Whether the prompt is written into the prompt cache: always, because the request asks for it, or not at all. */
  cache: "none" | "automatic" | "asked" | "asked for long";
  /** The request's own parts that count as prompt. */
  prompt: { messages: unknown[]; tools?: unknown; response_format?: unknown };
  /** Whether reasoning items of the Responses API have `encrypted_content`, which the client can send back. */
  encryptsReasoning?: boolean;
  /** Members of the request that the Responses API repeats in its answer. */
  echo?: object;
}

/** @throws ApiError 400 that names the first field that is missing or wrong. */
export function readChatRequest(body: unknown): ChatRequest {
  const fields = readBody(body);
  const messages = readMessages(fields.messages);
  const model = readModel(fields);
  const tools = readTools(fields.tools);
  const stream = readBoolean(fields, "stream");
  const logprobs = readBoolean(fields, "logprobs");
  const topLogprobs = readInteger(fields, "top_logprobs", 0, 20);
  if (topLogprobs !== undefined && !logprobs) {
    throw new ApiError(400, "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.", {
      param: "top_logprobs",
    });
  }
  const n = readInteger(fields, "n", 1, 128) ?? 1;
  const limits = [readInteger(fields, "max_tokens", 1), readInteger(fields, "max_completion_tokens", 1)];
  checkNumber(fields, "temperature", 0, 2);
  checkNumber(fields, "top_p", 0, 1);
  checkNumber(fields, "presence_penalty", -2, 2);
  checkNumber(fields, "frequency_penalty", -2, 2);
  return {
    model,
    messages,
    tools,
    toolChoice: readToolChoice(fields.tool_choice, tools),
    parallelToolCalls: fields.parallel_tool_calls !== false,
    format: readFormat(fields.response_format),
    stream,
    includeUsage: readIncludeUsage(fields.stream_options, stream),
    n,
    maxTokens: Math.min(...limits.map((limit) => limit ?? Infinity), Math.floor((logprobs ? MOST_TOKENS / 20 : MOST_TOKENS) / n)),
    stop: readStop(fields.stop),
    seed: readInteger(fields, "seed") ?? 0,
    logprobs,
    topLogprobs: topLogprobs ?? 0,
    reasoning: reasonsBy(model, fields.reasoning_effort) ? "hidden" : "none",
    mostReasoning: Infinity,
    cache: "automatic",
    prompt: { messages: fields.messages as unknown[], tools: fields.tools, response_format: fields.response_format },
  };
}

export interface EmbeddingsRequest {
  model: string;
  /** Texts, or texts that are already tokens. */
  inputs: (string | number[])[];
  /** Undefined when the request names none; the model's own number then applies. */
  dimensions: number | undefined;
  encodingFormat: "float" | "base64";
}

/** @throws ApiError 400 that names the first field that is missing or wrong. */
export function readEmbeddingsRequest(body: unknown): EmbeddingsRequest {
  const fields = readBody(body);
  const encodingFormat = fields.encoding_format ?? "float";
  if (encodingFormat !== "float" && encodingFormat !== "base64") throw invalidValue("encoding_format", encodingFormat, ["float", "base64"]);
  return {
    model: readModel(fields),
    inputs: readEmbeddingInputs(fields.input),
    dimensions: readInteger(fields, "dimensions", 1, 3072),
    encodingFormat,
  };
}

/**
 * The most output tokens of one request, over all choices, because the simulator shares
 * its process with the gateway. With log probabilities a token is twenty times as large.
 */
export const MOST_TOKENS = 50_000;

const ROLES = ["system", "developer", "user", "assistant", "tool", "function"] as const;

export function readBody(body: unknown): Record<string, unknown> {
  if (isRecord(body)) return body;
  throw new ApiError(400, `Invalid type for the body: expected an object, but got ${aOrAn(body)} instead.`, {
    code: "invalid_type",
  });
}

function readMessages(messages: unknown): ChatMessage[] {
  if (messages === undefined || messages === null) throw missing("messages");
  if (!Array.isArray(messages)) throw wrongType("messages", "an array of objects", messages);
  if (messages.length === 0) {
    throw new ApiError(400, "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.", {
      param: "messages",
      code: "empty_array",
    });
  }
  const read = messages.map((message, index) => readMessage(message, `messages[${index}]`));
  checkToolAnswers(read);
  return read;
}

function readMessage(message: unknown, param: string): ChatMessage {
  if (!isRecord(message)) throw wrongType(param, "an object", message);
  if (message.role === undefined) throw missing(`${param}.role`);
  const role = ROLES.find((one) => one === message.role);
  if (role === undefined) throw invalidValue(`${param}.role`, message.role, ROLES);
  const toolCalls = readMadeCalls(message.tool_calls, `${param}.tool_calls`);
  if (role === "tool" && typeof message.tool_call_id !== "string") throw missing(`${param}.tool_call_id`);
  const mayBeEmpty =
    role === "assistant" && (toolCalls.length > 0 || typeof message.refusal === "string" || isRecord(message.function_call));
  const content = message.content ?? (mayBeEmpty ? "" : message.content);
  return {
    role,
    ...readContent(content, `${param}.content`),
    toolCalls,
    toolCallId: typeof message.tool_call_id === "string" ? message.tool_call_id : undefined,
  };
}

function readContent(content: unknown, param: string): { text: string; attachments: string[] } {
  if (typeof content === "string") return { text: content, attachments: [] };
  if (content === undefined) throw missing(param);
  if (!Array.isArray(content)) throw wrongType(param, "a string or an array of objects", content);
  const texts: string[] = [];
  const attachments: string[] = [];
  for (const [index, part] of content.entries()) {
    if (!isRecord(part)) throw wrongType(`${param}[${index}]`, "an object", part);
    if (typeof part.type !== "string") throw missing(`${param}[${index}].type`);
    if (part.type === "refusal") texts.push(String(part.refusal));
    else if (part.type !== "text") attachments.push(part.type);
    else if (typeof part.text === "string") texts.push(part.text);
    else throw missing(`${param}[${index}].text`);
  }
  return { text: texts.join("\n"), attachments };
}

function readMadeCalls(calls: unknown, param: string): { id: string; name: string }[] {
  if (calls === undefined || calls === null) return [];
  if (!Array.isArray(calls)) throw wrongType(param, "an array of objects", calls);
  return calls.map((call: unknown, index) => {
    const called = isRecord(call) ? call.function : undefined;
    if (!isRecord(call) || typeof call.id !== "string") throw missing(`${param}[${index}].id`);
    if (!isRecord(called) || typeof called.name !== "string") throw missing(`${param}[${index}].function.name`);
    return { id: call.id, name: called.name };
  });
}

/** Every call must be answered by a tool message right after it, and no tool message may answer anything else. */
function checkToolAnswers(messages: ChatMessage[]): void {
  let open: string[] = [];
  let mayAnswer: string[] = [];
  for (const [index, message] of messages.entries()) {
    if (message.role === "tool") {
      if (!mayAnswer.includes(message.toolCallId ?? "")) {
        throw new ApiError(
          400,
          "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.",
          {
            param: `messages[${index}].role`,
          },
        );
      }
      open = open.filter((id) => id !== message.toolCallId);
      continue;
    }
    if (open.length > 0) throw unanswered(open);
    open = message.toolCalls.map((call) => call.id);
    mayAnswer = [...open];
  }
  if (open.length > 0) throw unanswered(open);
}

function unanswered(ids: string[]): ApiError {
  const message =
    "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. " +
    `The following tool_call_ids did not have response messages: ${ids.join(", ")}`;
  return new ApiError(400, message, { param: "messages" });
}

export function readModel(fields: Record<string, unknown>): string {
  if (fields.model === undefined || fields.model === null || fields.model === "") throw missing("model");
  if (typeof fields.model !== "string") throw wrongType("model", "a string", fields.model);
  return fields.model;
}

function readTools(tools: unknown): FunctionTool[] {
  if (tools === undefined || tools === null) return [];
  if (!Array.isArray(tools)) throw wrongType("tools", "an array of objects", tools);
  return tools.map((tool: unknown, index) => {
    const param = `tools[${index}]`;
    if (!isRecord(tool)) throw wrongType(param, "an object", tool);
    if (tool.type !== "function") throw invalidValue(`${param}.type`, tool.type, ["function"]);
    if (!isRecord(tool.function)) throw missing(`${param}.function`);
    const { name, description, parameters } = tool.function;
    if (typeof name !== "string") throw missing(`${param}.function.name`);
    if (!/^[a-zA-Z0-9_-]{1,64}$/.test(name)) {
      throw new ApiError(
        400,
        `Invalid '${param}.function.name': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.`,
        { param: `${param}.function.name`, code: "invalid_value" },
      );
    }
    if (parameters !== undefined && parameters !== null && !isRecord(parameters)) {
      throw wrongType(`${param}.function.parameters`, "an object", parameters);
    }
    return {
      name,
      description: typeof description === "string" ? description : "",
      parameters: parameters ?? { type: "object", properties: {} },
      param: `${param}.function.parameters`,
    };
  });
}

function readToolChoice(choice: unknown, tools: FunctionTool[]): ChatRequest["toolChoice"] {
  if (choice === undefined || choice === null) return { mode: "auto" };
  if (choice === "none") return { mode: "none" };
  if (tools.length === 0) {
    throw new ApiError(400, "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.", {
      param: "tool_choice",
    });
  }
  if (choice === "auto" || choice === "required") return { mode: choice };
  const named = isRecord(choice) && choice.type === "function" && isRecord(choice.function) ? choice.function.name : undefined;
  if (typeof named !== "string") throw invalidValue("tool_choice", choice, ["none", "auto", "required"]);
  if (!tools.some((tool) => tool.name === named)) {
    throw new ApiError(400, `Invalid value for 'tool_choice': '${named}' is not one of the functions in 'tools'.`, {
      param: "tool_choice",
    });
  }
  return { mode: "required", only: named };
}

function readFormat(format: unknown): ChatRequest["format"] {
  if (format === undefined || format === null) return { type: "text" };
  if (!isRecord(format)) throw wrongType("response_format", "an object", format);
  const type = (["text", "json_object", "json_schema"] as const).find((one) => one === format.type);
  if (type === undefined) throw invalidValue("response_format.type", format.type, ["text", "json_object", "json_schema"]);
  if (type !== "json_schema") return { type };
  if (!isRecord(format.json_schema)) throw missing("response_format.json_schema");
  if (typeof format.json_schema.name !== "string") throw missing("response_format.json_schema.name");
  return { type, schema: format.json_schema.schema ?? {} };
}

function readIncludeUsage(options: unknown, stream: boolean): boolean {
  if (options === undefined || options === null) return false;
  if (!isRecord(options)) throw wrongType("stream_options", "an object", options);
  if (stream) return options.include_usage === true;
  throw new ApiError(400, "The 'stream_options' parameter is only allowed when 'stream' is enabled.", {
    param: "stream_options",
  });
}

function readStop(stop: unknown): string[] {
  if (stop === undefined || stop === null) return [];
  const list: unknown[] = Array.isArray(stop) ? stop : [stop];
  if (list.length > 4) {
    throw new ApiError(
      400,
      `Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with length ${list.length} instead.`,
      {
        param: "stop",
        code: "array_above_max_length",
      },
    );
  }
  const texts = list.filter((one) => typeof one === "string");
  if (texts.length < list.length) throw wrongType("stop", "a string or an array of strings", stop);
  return texts.filter((one) => one !== "");
}

function readEmbeddingInputs(input: unknown): (string | number[])[] {
  if (input === undefined || input === null) throw missing("input");
  const list: unknown[] = Array.isArray(input) && !input.every((one) => typeof one === "number") ? input : [input];
  if (list.length > 2048) {
    throw new ApiError(400, `Invalid 'input': array too long. Expected at most 2048 items, but got ${list.length} instead.`, {
      param: "input",
      code: "array_above_max_length",
    });
  }
  return list.map((one) => {
    if (one === "" || (Array.isArray(one) && one.length === 0))
      throw new ApiError(400, "Invalid 'input': input cannot be an empty string.", { param: "input" });
    if (typeof one === "string") return one;
    if (Array.isArray(one) && one.every((token) => Number.isInteger(token))) return one as number[];
    throw wrongType("input", "a string, an array of strings, an array of tokens or an array of arrays of tokens", one);
  });
}
