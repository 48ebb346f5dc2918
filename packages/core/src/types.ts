import type { Quota, WireChatCompletion, WireChatCompletionRequest } from "./wire.ts";

/** A part of a message: text, an image, or whatever else the model takes. */
export type ContentPart =
  | { type: "text"; text: string }
  | { type: "image_url"; image_url: { url: string; detail?: "auto" | "low" | "high" } }
  | { type: "input_audio"; input_audio: { data: string; format: string } }
  | { type: string; [other: string]: unknown };

/** A function that the model asks to be called. */
export type ToolCall = {
  id: string;
  type: "function";
  /** `arguments` is JSON text, which may be wrong: check it. */
  function: { name: string; arguments: string };
};

/** One message of a conversation, as OpenAI has it. */
export type ChatMessage = {
  role: "system" | "developer" | "user" | "assistant" | "tool" | (string & {});
  content?: string | ContentPart[] | null | undefined;
  name?: string | undefined;
  tool_calls?: ToolCall[] | undefined;
  tool_call_id?: string | undefined;
  [other: string]: unknown;
};

/** A tool that the model may call. */
export type Tool = {
  type: "function";
  function: { name: string; description?: string; parameters?: Record<string, unknown>; strict?: boolean | null };
};

/**
 * What to complete: OpenAI's request. Parameters that are not listed here go to the
 * provider as they are.
 */
export type ChatCompletionParams = WireChatCompletionRequest & {
  /** A model of `listModels()`, such as `gpt-4o-mini`. */
  model: string;
  messages: ChatMessage[];
  /** true for an async iterable of chunks. */
  stream?: boolean | null | undefined;
  /** Most output tokens. Lowered by the server to what the payer can afford. */
  max_completion_tokens?: number | null | undefined;
  temperature?: number | null | undefined;
  top_p?: number | null | undefined;
  stop?: string | string[] | null | undefined;
  seed?: number | null | undefined;
  tools?: Tool[] | undefined;
  tool_choice?: "none" | "auto" | "required" | { type: "function"; function: { name: string } } | undefined;
  response_format?: { type: "text" | "json_object" } | { type: "json_schema"; json_schema: Record<string, unknown> } | undefined;
};

/** One answer of a completion. */
export type ChatCompletionChoice = {
  index: number;
  message: { role: "assistant"; content: string | null; refusal?: string | null; tool_calls?: ToolCall[]; [other: string]: unknown };
  finish_reason: "stop" | "length" | "tool_calls" | "content_filter" | (string & {});
  [other: string]: unknown;
};

/** A completion: OpenAI's answer, and `quota` with what it cost. */
export type ChatCompletion = WireChatCompletion & { choices: ChatCompletionChoice[] };

/** A part of a completion that is under way. */
export type ChatCompletionChunk = {
  id: string;
  object: "chat.completion.chunk";
  created: number;
  model: string;
  /** Empty only on the usage chunk that `stream_options.include_usage` asks for. */
  choices: {
    index: number;
    delta: {
      role?: "assistant";
      content?: string | null;
      tool_calls?: { index: number; id?: string; type?: "function"; function?: { name?: string; arguments?: string } }[];
      [other: string]: unknown;
    };
    finish_reason: ChatCompletionChoice["finish_reason"] | null;
    [other: string]: unknown;
  }[];
  usage?: WireChatCompletion["usage"] | null;
  /** What it cost; on the chunk with `finish_reason`, and on the usage chunk. */
  quota?: Quota;
  [other: string]: unknown;
};

/** Options of a single request. */
export interface RequestOptions {
  /** Ends the request; what it throws is the signal's reason. */
  signal?: AbortSignal | undefined;
  /** How long to wait for an answer, or for the next part of a stream, in milliseconds. */
  timeoutMs?: number | undefined;
  /** How often to try again. */
  maxRetries?: number | undefined;
}

/** Options of a request that is billed. */
export interface PayerOptions extends RequestOptions {
  /** Your id for the linked user who pays; sent as `X-Quota-User`. Any printable characters. */
  externalUserId?: string | undefined;
}

/** Options of a request that must not happen twice. */
export interface WriteOptions extends RequestOptions {
  /** The same key and the same request again get the first answer, within a day. Without one, each call makes its own for its retries. */
  idempotencyKey?: string | undefined;
}

/** Tokens of a person who connected their wallet, for an app that keeps tokens itself. */
export interface TokenSet {
  /** Good for about an hour. */
  accessToken: string;
  /** Replaced at every refresh; using an old one ends the connection. */
  refreshToken?: string | undefined;
  /** Milliseconds since 1970. */
  expiresAt: number;
  /** What the token may do, separated by spaces. */
  scope: string;
  /** With the scope `openid`. */
  idToken?: string | undefined;
}

/** A link that Quota stores: there is no token to keep. */
export interface HostedLink {
  storageMode: "hosted";
  /** Your id for the person: send it as `externalUserId` from now on. */
  externalUserId: string;
  scope: string;
  user: { id: string; email: string };
  /** ISO 8601, UTC. */
  linkedAt: string;
}
