import type { SeenRequest } from "../../src/testing/fake-upstream.ts";
import { type Behaviour, json } from "../../src/testing/upstream-answers.ts";

/**
 * An imitated provider, which tests send requests to through Quota. Each file of `behaviours` has the answers of one
 * provider, and names for each answer the page or the report that documents it. All providers are served by the HTTP
 * server of `src/testing/fake-upstream.ts`, each under a path of its own.
 */
export type Provider = {
  /** The provider's key in `PROVIDERS`, and the first segment of its path at the fake upstream. */
  id: keyof typeof PROVIDERS;
  /** The id of a model in the catalogue or in `OWN_MODELS`. */
  model: string;
  /** The provider's error for a request that it does not accept; null when it accepts the request. */
  refusal(request: SeenRequest): Behaviour | null;
};

/** The environment variables with each provider's API key and base URL. */
export const PROVIDERS = {
  openai: { key: "OPENAI_API_KEY", baseUrl: "OPENAI_BASE_URL" },
  google: { key: "GEMINI_API_KEY", baseUrl: "GEMINI_BASE_URL" },
  anthropic: { key: "ANTHROPIC_API_KEY", baseUrl: "ANTHROPIC_BASE_URL" },
  mistral: { key: "MISTRAL_API_KEY", baseUrl: "MISTRAL_BASE_URL" },
  groq: { key: "GROQ_API_KEY", baseUrl: "GROQ_BASE_URL" },
  deepseek: { key: "DEEPSEEK_API_KEY", baseUrl: "DEEPSEEK_BASE_URL" },
  xai: { key: "XAI_API_KEY", baseUrl: "XAI_BASE_URL" },
  openrouter: { key: "OPENROUTER_API_KEY", baseUrl: "OPENROUTER_BASE_URL" },
  ollama: { key: "OLLAMA_API_KEY", baseUrl: "OLLAMA_BASE_URL" },
  vllm: { key: "VLLM_API_KEY", baseUrl: "VLLM_BASE_URL" },
} as const;

/** Ollama and vLLM serve the operator's own models. A million tokens cost $1 as input, $0.10 as cached input and $2 as output. */
export const OWN_MODELS = (["ollama", "vllm"] as const).map((provider) => ({
  id: `own-${provider}`,
  provider,
  context_length: 32_768,
  max_output_tokens: 4_096,
  price: { input: "1.00", cached_input: "0.10", output: "2.00" },
}));

/** The environment in which a server sends the requests for every provider to the fake upstream. */
export function everyProvider({ url, key }: { url: string; key: string }): Record<string, string> {
  const entries = Object.entries(PROVIDERS).flatMap(([id, names]) => [
    [names.key, key],
    [names.baseUrl, new URL(`/${id}/v1`, url).href],
  ]);
  return Object.fromEntries(entries);
}

/** The names of the request's output limits that are not in `known`. */
export function unknownLimits(request: SeenRequest, known: readonly string[]): string[] {
  return ["max_tokens", "max_completion_tokens"].filter((name) => name in request.body && !known.includes(name));
}

/** Answers requests to the provider: with its refusal, or with `behaviour` when it accepts the request. Requests to other providers get 404. */
export function answering(
  provider: Provider,
  behaviour: Behaviour | ((request: SeenRequest) => Behaviour),
): (request: SeenRequest) => Behaviour {
  return (request) => {
    if (!request.path.startsWith(`/${provider.id}/`))
      return json({ error: `this is ${provider.id}, not ${request.path}` }, { status: 404 });
    return provider.refusal(request) ?? (typeof behaviour === "function" ? behaviour(request) : behaviour);
  };
}
