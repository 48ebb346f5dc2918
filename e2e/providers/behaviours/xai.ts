import type { Provider } from "../provider.ts";

/** xAI: https://docs.x.ai/docs/api-reference */
export const xai: Provider = { id: "xai", model: "grok-4.20-0309-non-reasoning", refusal: () => null };
