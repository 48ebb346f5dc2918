import type { SeenRequest } from "../../src/testing/fake-upstream.ts";
import { type Behaviour, json } from "../../src/testing/upstream-answers.ts";

/**
 * A provider as it answers, for the tests to ask through Quota. One file has one provider's ways, and each way the page
 * or the report that it comes from. `src/testing/fake-upstream.ts` is the HTTP server; every provider is mounted there
 * under a path of its own.
 */
export type Provider = {
  /** Its path at the far end, and its name in `PROVIDERS`. */
  id: keyof typeof PROVIDERS;
  /** A model of the catalogue, or of `models` in `PROVIDERS`. */
  model: string;
  /** What it answers to a request that it does not take; null when it takes it. */
  refusal(request: SeenRequest): Behaviour | null;
};

/** The environment that points Quota at each of them. */
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

/** Ollama and vLLM serve the operator's own models. A million tokens cost $1 in and $2 out, and $0.10 from the cache. */
export const OWN_MODELS = (["ollama", "vllm"] as const).map((provider) => ({
  id: `own-${provider}`,
  provider,
  context_length: 32_768,
  max_output_tokens: 4_096,
  price: { input: "1.00", cached_input: "0.10", output: "2.00" },
}));

/** What a server needs to have every provider at this far end. */
export function everyProvider({ url, key }: { url: string; key: string }): Record<string, string> {
  const entries = Object.entries(PROVIDERS).flatMap(([id, names]) => [
    [names.key, key],
    [names.baseUrl, new URL(`/${id}/v1`, url).href],
  ]);
  return Object.fromEntries(entries);
}

/** The members of a request that its provider does not know, or that it does not take together. */
export function unknownLimits(request: SeenRequest, known: readonly string[]): string[] {
  return ["max_tokens", "max_completion_tokens"].filter((name) => name in request.body && !known.includes(name));
}

/** An answer to what the provider takes: a way that a test chose. */
export function answering(provider: Provider, way: Behaviour | ((request: SeenRequest) => Behaviour)): (request: SeenRequest) => Behaviour {
  return (request) => {
    if (!request.path.startsWith(`/${provider.id}/`))
      return json({ error: `this is ${provider.id}, not ${request.path}` }, { status: 404 });
    return provider.refusal(request) ?? (typeof way === "function" ? way(request) : way);
  };
}
