import { usage } from "../../../src/testing/upstream-answers.ts";
import type { Provider } from "../provider.ts";

/** DeepSeek, which ignores output limits that are not called `max_tokens`: https://api-docs.deepseek.com/api/create-chat-completion */
export const deepseek: Provider = { id: "deepseek", model: "deepseek-flash", refusal: () => null };

/** Usage with 900 of 1,000 prompt tokens from the cache: https://api-docs.deepseek.com/guides/kv_cache */
export const deepseekUsage = { ...usage(1_000, 100), prompt_cache_hit_tokens: 900, prompt_cache_miss_tokens: 100 };
