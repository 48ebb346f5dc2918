import { refusal } from "../../../src/testing/upstream-answers.ts";
import type { Provider } from "../provider.ts";

/** OpenAI: https://platform.openai.com/docs/api-reference/chat/create */
export const openai: Provider = {
  id: "openai",
  model: "gpt-5-mini",
  refusal({ body }) {
    // Reasoning models accept `max_completion_tokens` only: https://platform.openai.com/docs/guides/reasoning
    const isReasoning = /^(gpt-[5-9]|o\d)/.test(String(body.model));
    if (isReasoning && "max_tokens" in body) {
      return refusal(400, {
        message: "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        param: "max_tokens",
        code: "unsupported_parameter",
      });
    }
    if ("max_tokens" in body && "max_completion_tokens" in body) {
      return refusal(400, {
        message: "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
        code: "invalid_parameter_combination",
      });
    }
    return null;
  },
};

/** The operator's account has no credit left: https://platform.openai.com/docs/guides/error-codes */
export const openaiEmpty = refusal(429, {
  message: "You exceeded your current quota, please check your plan and billing details of org-secret.",
  type: "insufficient_quota",
  code: "insufficient_quota",
});
