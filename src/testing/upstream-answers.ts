/*
 * The answers of the fake provider (fake-upstream.ts), in the shapes of its three APIs: OpenAI's completions, Anthropic's
 * messages and OpenAI's responses.
 */

/**
 * An answer. The pieces of a body are sent one by one, so an async generator that waits
 * between them decides the timing; `BREAK_OFF` closes the connection there.
 */
export type Behaviour = {
  status?: number;
  headers?: Record<string, string>;
  body: Iterable<Piece> | AsyncIterable<Piece>;
};
export type Piece = string | Uint8Array | typeof BREAK_OFF;
export const BREAK_OFF: unique symbol = Symbol("the connection breaks here");

export type Usage = {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  prompt_tokens_details?: { cached_tokens?: number; cache_write_tokens?: number };
};

export function usage(promptTokens: number, completionTokens: number, details?: Usage["prompt_tokens_details"]): Usage {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    ...(details === undefined ? {} : { prompt_tokens_details: details }),
  };
}

const ORDINARY_USAGE = usage(10, 5);

/** An answer of JSON. */
export function json(value: unknown, behaviour: Omit<Behaviour, "body"> = {}): Behaviour {
  return { ...behaviour, body: [JSON.stringify(value)] };
}

/** A completion; `usage: null` leaves the usage out. */
export function completion(options: { text?: string; usage?: Usage | null; choices?: readonly object[]; extra?: object } = {}): Behaviour {
  const { text = "Hello there.", usage = ORDINARY_USAGE, extra = {} } = options;
  return json({
    id: "chatcmpl-fake",
    object: "chat.completion",
    created: 1_700_000_000,
    model: "gpt-4o-mini-2024-07-18",
    choices: options.choices ?? [choice({ content: text })],
    ...(usage === null ? {} : { usage }),
    ...extra,
  });
}

export function choice(message: object, options: { index?: number; finishReason?: string } = {}) {
  return {
    index: options.index ?? 0,
    message: { role: "assistant", content: null, refusal: null, ...message },
    logprobs: null,
    finish_reason: options.finishReason ?? "stop",
  };
}

export function toolCall(name: string, args: unknown, id = "call_1") {
  return { id, type: "function", function: { name, arguments: JSON.stringify(args) } };
}

/** One chunk of a stream of completions. */
export function chunk(choices: readonly object[], rest: object = {}) {
  return {
    id: "chatcmpl-fake",
    object: "chat.completion.chunk",
    created: 1_700_000_000,
    model: "gpt-4o-mini-2024-07-18",
    choices,
    ...rest,
  };
}

export function delta(change: object, options: { index?: number; finishReason?: string | null } = {}) {
  return { index: options.index ?? 0, delta: change, logprobs: null, finish_reason: options.finishReason ?? null };
}

/** The chunks of an ordinary stream: the role, the texts, the end, and with `includeUsage` the usage. */
export function completionChunks(texts: readonly string[], options: { usage?: Usage; includeUsage?: boolean } = {}): object[] {
  return [
    chunk([delta({ role: "assistant", content: "" })]),
    ...texts.map((text) => chunk([delta({ content: text })])),
    chunk([delta({}, { finishReason: "stop" })]),
    ...(options.includeUsage === true || options.usage !== undefined ? [chunk([], { usage: options.usage ?? ORDINARY_USAGE })] : []),
  ];
}

/** One server-sent event. */
export function event(data: unknown): string {
  return `data: ${typeof data === "string" ? data : JSON.stringify(data)}\n\n`;
}

/** A stream of these chunks and `[DONE]`, one write for each event. */
export function sse(chunks: readonly object[], options: { done?: boolean } = {}): Behaviour {
  return events([...chunks.map(event), ...(options.done === false ? [] : [event("[DONE]")])]);
}

/** A stream of exactly these writes, which may cut events and characters anywhere. */
export function events(body: Behaviour["body"]): Behaviour {
  return { headers: { "content-type": "text/event-stream; charset=utf-8" }, body };
}

/** An error in the shape of OpenAI's. */
export function refusal(status: number, error: object, headers: Record<string, string> = {}): Behaviour {
  return json({ error: { type: "invalid_request_error", param: null, code: null, ...error } }, { status, headers });
}

export function embeddings(
  body: Readonly<Record<string, unknown>>,
  usage: object | null = { prompt_tokens: 8, total_tokens: 8 },
): Behaviour {
  const inputs = Array.isArray(body.input) ? body.input : [body.input];
  const vector = [0.25, -0.5, 0.125];
  // OpenAI's client asks for base64 by default.
  const embedding = body.encoding_format === "base64" ? Buffer.from(new Float32Array(vector).buffer).toString("base64") : vector;
  return json({
    object: "list",
    data: inputs.map((_input, index) => ({ object: "embedding", index, embedding })),
    model: body.model,
    ...(usage === null ? {} : { usage }),
  });
}

/** Usage in the shape of Anthropic's: input tokens without those of the prompt cache. */
export function messageUsage(inputTokens: number, outputTokens: number, cache: { read?: number; written?: number; long?: number } = {}) {
  const { read = 0, written = 0, long = 0 } = cache;
  return {
    input_tokens: inputTokens,
    cache_creation_input_tokens: written + long,
    cache_read_input_tokens: read,
    cache_creation: { ephemeral_5m_input_tokens: written, ephemeral_1h_input_tokens: long },
    output_tokens: outputTokens,
    service_tier: "standard",
  };
}

/** A message of Anthropic's API; `usage: null` leaves the usage out. */
export function message(options: { content?: readonly object[]; usage?: object | null; stopReason?: string } = {}): Behaviour {
  const { content = [{ type: "text", text: "Hello there." }], usage = messageUsage(10, 5), stopReason = "end_turn" } = options;
  return json({
    id: "msg_fake",
    type: "message",
    role: "assistant",
    model: "claude-haiku-4-5-20251001",
    content,
    stop_reason: stopReason,
    stop_sequence: null,
    ...(usage === null ? {} : { usage }),
  });
}

/** The events of an ordinary stream of Anthropic's: ten tokens in, five out by default. */
export function messageEvents(texts: readonly string[], options: { usage?: ReturnType<typeof messageUsage> } = {}): object[] {
  const { output_tokens, ...input } = options.usage ?? messageUsage(10, 5);
  return [
    {
      type: "message_start",
      message: {
        id: "msg_fake",
        type: "message",
        role: "assistant",
        model: "claude-haiku-4-5-20251001",
        content: [],
        stop_reason: null,
        stop_sequence: null,
        usage: { ...input, output_tokens: 1 },
      },
    },
    { type: "content_block_start", index: 0, content_block: { type: "text", text: "" } },
    { type: "ping" },
    ...texts.map((text) => ({ type: "content_block_delta", index: 0, delta: { type: "text_delta", text } })),
    { type: "content_block_stop", index: 0 },
    { type: "message_delta", delta: { stop_reason: "end_turn", stop_sequence: null }, usage: { output_tokens } },
    { type: "message_stop" },
  ];
}

/** One server-sent event with its name, which is its `type`. */
export function namedEvent(data: object): string {
  return `event: ${(data as { type?: string }).type}\ndata: ${JSON.stringify(data)}\n\n`;
}

/** A stream of named events, one write for each. */
export function namedEvents(objects: readonly object[]): Behaviour {
  return events(objects.map(namedEvent));
}

/** Usage in the shape of the Responses API. */
export function responseUsage(inputTokens: number, outputTokens: number, details: { cached?: number; written?: number } = {}) {
  return {
    input_tokens: inputTokens,
    input_tokens_details: { cached_tokens: details.cached ?? 0, cache_write_tokens: details.written ?? 0 },
    output_tokens: outputTokens,
    output_tokens_details: { reasoning_tokens: 0 },
    total_tokens: inputTokens + outputTokens,
  };
}

type ResponseOptions = { output?: readonly object[]; usage?: object | null; status?: string; rest?: object };

/** A response of the Responses API; ten tokens in, five out by default. */
export function responseObject({
  output = [outputMessage("Hello there.")],
  usage = responseUsage(10, 5),
  status = "completed",
  rest,
}: ResponseOptions = {}) {
  return {
    id: "resp_fake",
    object: "response",
    created_at: 1_700_000_000,
    status,
    error: null,
    incomplete_details: status === "incomplete" ? { reason: "max_output_tokens" } : null,
    model: "gpt-4o-mini-2024-07-18",
    output,
    parallel_tool_calls: true,
    tool_choice: "auto",
    tools: [],
    usage,
    ...rest,
  };
}

export function response(options: ResponseOptions = {}): Behaviour {
  return json(responseObject(options));
}

export function outputMessage(text: string, status = "completed") {
  return {
    id: "msg_fake",
    type: "message",
    status,
    role: "assistant",
    content: [{ type: "output_text", text, annotations: [], logprobs: [] }],
  };
}

/** The events of an ordinary stream with one message. */
export function responseEvents(texts: readonly string[], options: ResponseOptions = {}): object[] {
  const whole = texts.join("");
  const place = { item_id: "msg_fake", output_index: 0, content_index: 0 };
  const part = { type: "output_text", text: "", annotations: [], logprobs: [] };
  const begun = responseObject({ output: [], usage: null, status: "in_progress" });
  const status = options.status ?? "completed";
  return [
    { type: "response.created", response: begun },
    { type: "response.in_progress", response: begun },
    { type: "response.output_item.added", output_index: 0, item: { ...outputMessage("", "in_progress"), content: [] } },
    { type: "response.content_part.added", ...place, part },
    ...texts.map((delta) => ({ type: "response.output_text.delta", ...place, delta, logprobs: [] })),
    { type: "response.output_text.done", ...place, text: whole, logprobs: [] },
    { type: "response.content_part.done", ...place, part: { ...part, text: whole } },
    { type: "response.output_item.done", output_index: 0, item: outputMessage(whole, status) },
    { type: `response.${status}`, response: responseObject({ output: [outputMessage(whole, status)], ...options }) },
  ].map((each, sequence_number) => ({ ...each, sequence_number }));
}
