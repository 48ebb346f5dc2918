import { json } from "../../../src/testing/fake-upstream.ts";
import type { Provider } from "../far-end.ts";

/** Anthropic: https://platform.claude.com/docs/en/api/messages, and https://platform.claude.com/docs/en/api/openai-sdk for chat completions. */
export const anthropic: Provider = {
  id: "anthropic",
  model: "claude-sonnet-4-6",
  refusal: ({ path, body }) =>
    path.endsWith("/messages") && !("max_tokens" in body)
      ? json({ type: "error", error: { type: "invalid_request_error", message: "max_tokens: Field required" } }, { status: 400 })
      : null,
};
