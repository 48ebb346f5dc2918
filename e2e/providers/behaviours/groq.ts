import type { Provider } from "../provider.ts";

/** Groq: https://console.groq.com/docs/api-reference, where `max_tokens` is deprecated in favour of `max_completion_tokens`. */
export const groq: Provider = { id: "groq", model: "groq/openai/gpt-oss-20b", refusal: () => null };
