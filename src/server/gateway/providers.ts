import { Pool } from "undici";
import { type Env, env } from "#env";
import { processWide } from "../platform/process-wide.ts";
import type { ProviderId } from "../pricing/catalogue.ts";
import { startSimulator } from "./simulator/server.ts";

/**
 * How one provider is called, where providers differ. Each has OpenAI's chat completions
 * API over HTTP; some have Anthropic's Messages or OpenAI's Responses API too.
 */
type ProviderRow = {
  name: string;
  defaultBaseUrl: string | null;
  key: keyof Env;
  baseUrl: keyof Env;
  /**
   * The member of a chat completion that limits its output, and the provider's page about it. Only this one is sent:
   * Google refuses a request with both, Mistral refuses unknown members, and Ollama ignores them, and so the limit.
   */
  outputLimit: { name: "max_tokens" | "max_completion_tokens"; page: string };
  /** Takes `stream_options.include_usage`. A provider without it reports usage in its last chunk unasked. */
  streamOptions: boolean;
  /** The header for the key at the provider's Messages API; null where the provider has no such API. */
  messages: "x-api-key" | "bearer" | null;
  /** The provider has OpenAI's Responses API. */
  responses: boolean;
};

export const providerTable: Readonly<Record<ProviderId, ProviderRow>> = {
  openai: {
    name: "OpenAI",
    defaultBaseUrl: "https://api.openai.com/v1",
    key: "OPENAI_API_KEY",
    baseUrl: "OPENAI_BASE_URL",
    outputLimit: { name: "max_completion_tokens", page: "https://platform.openai.com/docs/api-reference/chat/create" },
    streamOptions: true,
    messages: null,
    responses: true,
  },
  google: {
    name: "Google Gemini",
    defaultBaseUrl: "https://generativelanguage.googleapis.com/v1beta/openai",
    key: "GEMINI_API_KEY",
    baseUrl: "GEMINI_BASE_URL",
    outputLimit: { name: "max_tokens", page: "https://ai.google.dev/gemini-api/docs/openai" },
    streamOptions: true,
    messages: null,
    responses: false,
  },
  anthropic: {
    name: "Anthropic",
    defaultBaseUrl: "https://api.anthropic.com/v1",
    key: "ANTHROPIC_API_KEY",
    baseUrl: "ANTHROPIC_BASE_URL",
    outputLimit: { name: "max_tokens", page: "https://platform.claude.com/docs/en/api/openai-sdk" },
    streamOptions: true,
    messages: "x-api-key",
    responses: false,
  },
  mistral: {
    name: "Mistral",
    defaultBaseUrl: "https://api.mistral.ai/v1",
    key: "MISTRAL_API_KEY",
    baseUrl: "MISTRAL_BASE_URL",
    outputLimit: { name: "max_tokens", page: "https://docs.mistral.ai/api/endpoint/chat" },
    streamOptions: false,
    messages: null,
    responses: false,
  },
  groq: {
    name: "Groq",
    defaultBaseUrl: "https://api.groq.com/openai/v1",
    key: "GROQ_API_KEY",
    baseUrl: "GROQ_BASE_URL",
    outputLimit: { name: "max_completion_tokens", page: "https://console.groq.com/docs/api-reference" },
    streamOptions: true,
    messages: null,
    responses: true,
  },
  deepseek: {
    name: "DeepSeek",
    defaultBaseUrl: "https://api.deepseek.com/v1",
    key: "DEEPSEEK_API_KEY",
    baseUrl: "DEEPSEEK_BASE_URL",
    outputLimit: { name: "max_tokens", page: "https://api-docs.deepseek.com/api/create-chat-completion" },
    streamOptions: true,
    messages: null,
    responses: false,
  },
  xai: {
    name: "xAI",
    defaultBaseUrl: "https://api.x.ai/v1",
    key: "XAI_API_KEY",
    baseUrl: "XAI_BASE_URL",
    outputLimit: { name: "max_completion_tokens", page: "https://docs.x.ai/docs/api-reference" },
    streamOptions: true,
    messages: null,
    responses: true,
  },
  openrouter: {
    name: "OpenRouter",
    defaultBaseUrl: "https://openrouter.ai/api/v1",
    key: "OPENROUTER_API_KEY",
    baseUrl: "OPENROUTER_BASE_URL",
    outputLimit: { name: "max_tokens", page: "https://openrouter.ai/docs/api-reference/parameters" },
    streamOptions: true,
    messages: null,
    responses: true,
  },
  ollama: {
    name: "Ollama",
    defaultBaseUrl: null,
    key: "OLLAMA_API_KEY",
    baseUrl: "OLLAMA_BASE_URL",
    outputLimit: { name: "max_tokens", page: "https://docs.ollama.com/api/openai-compatibility" },
    streamOptions: true,
    messages: "bearer",
    responses: true,
  },
  vllm: {
    name: "vLLM",
    defaultBaseUrl: null,
    key: "VLLM_API_KEY",
    baseUrl: "VLLM_BASE_URL",
    outputLimit: { name: "max_tokens", page: "https://docs.vllm.ai/en/latest/serving/openai_compatible_server/" },
    streamOptions: true,
    messages: "bearer",
    responses: true,
  },
};

/** A provider with its connections and headers. */
export type Upstream = {
  provider: ProviderId | "simulator";
  pool: Pool;
  /** The path of the base URL, before `/chat/completions`. */
  pathPrefix: string;
  headers: Readonly<Record<string, string>>;
  /** The headers for the Messages API. */
  messagesHeaders: Readonly<Record<string, string>>;
  outputLimitField: ProviderRow["outputLimit"]["name"];
  /** Models that do not reason take `max_tokens` too, so the app's member need not be renamed. */
  takesMaxTokens: boolean;
  streamOptions: boolean;
};

const opened = processWide("upstreams", (): { providers: Map<ProviderId, Upstream>; simulator?: Promise<Upstream> } => ({
  providers: new Map(),
}));

/** Whether a provider's models can be asked through Anthropic's Messages API. */
export function hasMessages(provider: ProviderId): boolean {
  return providerTable[provider].messages !== null;
}

/** Whether a provider's models can be asked through OpenAI's Responses API. */
export function hasResponses(provider: ProviderId): boolean {
  return providerTable[provider].responses;
}

export function isConfigured(provider: ProviderId): boolean {
  const row = providerTable[provider];
  return env[row.key] !== undefined || (row.defaultBaseUrl === null && env[row.baseUrl] !== undefined);
}

export function isAnyConfigured(): boolean {
  return (Object.keys(providerTable) as ProviderId[]).some(isConfigured);
}

/** Whether the simulator answers for all providers: when none is configured and the operator's settings allow it. */
export function isSimulated(): boolean {
  const wanted =
    env.QUOTA_SIMULATOR === "on" || (env.QUOTA_SIMULATOR === "auto" && (env.DATABASE_URL === undefined || env.QUOTA_DEMO === "1"));
  return wanted && !isAnyConfigured();
}

/** The upstream of a provider, opened on first use; null when the operator has not configured it. */
export function upstreamFor(provider: ProviderId): Upstream | null {
  if (!isConfigured(provider)) return null;
  let upstream = opened.providers.get(provider);
  if (upstream === undefined) {
    const row = providerTable[provider];
    const key = env[row.key] as string | undefined;
    upstream = openUpstream(provider, (env[row.baseUrl] as string | undefined) ?? row.defaultBaseUrl ?? "", row, key);
    opened.providers.set(provider, upstream);
  }
  return upstream;
}

/** The built-in simulator, started on first use. */
export function simulator(): Promise<Upstream> {
  opened.simulator ??= startSimulator({
    tokensPerSecond: env.QUOTA_SIMULATOR_TOKENS_PER_SECOND === 0 ? Number.POSITIVE_INFINITY : env.QUOTA_SIMULATOR_TOKENS_PER_SECOND,
  }).then(({ url }) =>
    openUpstream("simulator", url, {
      outputLimit: { name: "max_completion_tokens", page: "" },
      streamOptions: true,
      messages: "bearer",
    }),
  );
  return opened.simulator;
}

function openUpstream(
  provider: Upstream["provider"],
  baseUrl: string,
  traits: Pick<ProviderRow, "outputLimit" | "streamOptions" | "messages">,
  key?: string,
): Upstream {
  const url = new URL(baseUrl);
  // A compressor may buffer an event until more follow.
  const common = { "content-type": "application/json", "accept-encoding": "identity", "user-agent": "quota" };
  const headers = { ...common, ...(key === undefined ? {} : { authorization: `Bearer ${key}` }) };
  return {
    provider,
    pool: new Pool(url.origin, {
      // Without pipelining each request takes a connection until its answer ends.
      connections: 2_048,
      pipelining: 1,
      connect: { timeout: 10_000 },
      headersTimeout: env.QUOTA_UPSTREAM_HEADERS_TIMEOUT_MS,
      bodyTimeout: env.QUOTA_UPSTREAM_IDLE_TIMEOUT_MS,
    }),
    pathPrefix: url.pathname.replace(/\/+$/, ""),
    headers,
    messagesHeaders: traits.messages === "x-api-key" && key !== undefined ? { ...common, "x-api-key": key } : headers,
    outputLimitField: traits.outputLimit.name,
    takesMaxTokens: provider === "openai" || provider === "simulator",
    streamOptions: traits.streamOptions,
  };
}
