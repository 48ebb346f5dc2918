import { type Behaviour, json } from "../../../src/testing/fake-upstream.ts";
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

/** https://platform.claude.com/docs/en/api/errors */
export function anthropicError(status: number, type: string, message: string): Behaviour {
  return json({ type: "error", error: { type, message }, request_id: "req_011CSHoEeqs5C35K2UUqR7Fy" }, { status });
}
