import type { Provider } from "../far-end.ts";

/** OpenRouter: https://openrouter.ai/docs/api-reference/parameters */
export const openrouter: Provider = { id: "openrouter", model: "openrouter/moonshotai/kimi-k3", refusal: () => null };
