import { type Behaviour, json } from "../../../src/testing/upstream-answers.ts";
import type { Provider } from "../far-end.ts";

/** Ollama, which knows `max_tokens` only and ignores what it does not know: https://docs.ollama.com/api/openai-compatibility */
export const ollama: Provider = { id: "ollama", model: "own-ollama", refusal: () => null };

/** A text where OpenAI has an object: https://docs.ollama.com/api/errors */
export function ollamaError(status: number, error: string): Behaviour {
  return json({ error }, { status });
}
