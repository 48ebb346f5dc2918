import type { Provider } from "../far-end.ts";

/** DeepSeek, which ignores a limit by another name than `max_tokens`: https://api-docs.deepseek.com/api/create-chat-completion */
export const deepseek: Provider = { id: "deepseek", model: "deepseek-flash", refusal: () => null };
