import type { Quota, WireChatCompletion, WireChatCompletionRequest } from "./wire.ts";

/** A part of a message: text, an image, or another type that the model accepts. */
export type ContentPart =
  | { type: "text"; text: string }
  | { type: "image_url"; image_url: { url: string; detail?: "auto" | "low" | "high" } }
  | { type: "input_audio"; input_audio: { data: string; format: string } }
  | { type: string; [other: string]: unknown };

/** A model's call of a function. */
export type ToolCall = {
  id: string;
  type: "function";
  /** `arguments` is JSON text from the model, which may be invalid. */
  function: { name: string; arguments: string };
};

/** One message of a conversation, in OpenAI's shape. */
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
 * A completion request in OpenAI's shape. Parameters that are not listed here go to the provider
 * unchanged.
 */
export type ChatCompletionParams = WireChatCompletionRequest & {
  /** A model of `listModels()`, such as `gpt-4o-mini`. */
  model: string;
  messages: ChatMessage[];
  /** true for a stream: an async iterable of chunks. */
  stream?: boolean | null | undefined;
  /** The greatest number of output tokens. The server lowers it to what the payer can afford. */
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

/** A completion: OpenAI's answer, and `quota` with its cost. */
export type ChatCompletion = WireChatCompletion & { choices: ChatCompletionChoice[] };

/** A part of a streamed completion. */
export type ChatCompletionChunk = {
  id: string;
  object: "chat.completion.chunk";
  created: number;
  model: string;
  /** Empty only in the usage chunk, which `stream_options.include_usage` asks for. */
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
  /** The cost; in the chunk with `finish_reason`, and in the usage chunk. */
  quota?: Quota;
  [other: string]: unknown;
};

/** Options of a single request. */
export interface RequestOptions {
  /** Aborts the request, which then throws the signal's reason. */
  signal?: AbortSignal | undefined;
  /** Milliseconds to wait for an answer, or for the next part of a stream. */
  timeoutMs?: number | undefined;
  /** How often to repeat the request. */
  maxRetries?: number | undefined;
}

/** Options of a request that names a payer. */
export interface PayerOptions extends RequestOptions {
  /** Your app's id for the linked user who pays; sent as `X-Quota-User`. Any printable characters. */
  externalUserId?: string | undefined;
}

/** Options of a request that must be carried out once. */
export interface WriteOptions extends RequestOptions {
  /** Within a day, the same key with the same request gets the first answer. By default each call makes a key for its own retries. */
  idempotencyKey?: string | undefined;
}

/** Tokens of a user who connected their wallet, for an app that keeps tokens itself. */
export interface TokenSet {
  /** Expires after about an hour. */
  accessToken: string;
  /** Replaced at every refresh; using an old one ends the link. */
  refreshToken?: string | undefined;
  /** When the access token expires, in milliseconds since 1970. */
  expiresAt: number;
  /** The token's scopes, separated by spaces. */
  scope: string;
  /** An OpenID Connect ID token, with the scope `openid`. */
  idToken?: string | undefined;
}

/** A link whose tokens Quota keeps. */
export interface HostedLink {
  storageMode: "hosted";
  /** Your app's id for the user: send it as `externalUserId` from now on. */
  externalUserId: string;
  scope: string;
  user: { id: string; email: string };
  /** ISO 8601, UTC. */
  linkedAt: string;
}
