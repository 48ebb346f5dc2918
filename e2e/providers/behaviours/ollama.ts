import { type Behaviour, json } from "../../../src/testing/upstream-answers.ts";
import type { Provider } from "../provider.ts";

/** Ollama, which reads `max_tokens` and ignores unknown members: https://docs.ollama.com/api/openai-compatibility */
export const ollama: Provider = { id: "ollama", model: "own-ollama", refusal: () => null };

/** `error` is text, not an object as at OpenAI: https://docs.ollama.com/api/errors */
export function ollamaError(status: number, error: string): Behaviour {
  return json({ error }, { status });
}
