import { type Behaviour, json, usage } from "../../../src/testing/upstream-answers.ts";
import { type Provider, unknownLimits } from "../provider.ts";

/** Mistral: https://docs.mistral.ai/api/endpoint/chat */
export const mistral: Provider = {
  id: "mistral",
  model: "mistral-large-2512",
  /** Mistral refuses unknown members: https://github.com/editor-code-assistant/eca/issues/231 */
  refusal(request) {
    const [name] = unknownLimits(request, ["max_tokens"]);
    return name === undefined ? null : mistralInvalid(name, "Extra inputs are not permitted");
  },
};

/** `message` is an object with a list of errors, not text: https://github.com/editor-code-assistant/eca/issues/231 */
export function mistralInvalid(member: string, msg: string): Behaviour {
  const message = { detail: [{ type: "extra_forbidden", loc: ["body", member], msg, input: 1 }] };
  return json({ object: "error", message, type: "invalid_request_error", param: null, code: null }, { status: 422 });
}

/** Usage with 900 of 1,000 prompt tokens from the cache: https://docs.mistral.ai/api/endpoint/chat */
export const mistralUsage = { ...usage(1_000, 100), num_cached_tokens: 900 };

/** The content of a reasoning model's message is a list of parts: https://docs.mistral.ai/capabilities/reasoning/ */
export const magistralContent = [
  { type: "thinking", thinking: [{ type: "text", text: "hello world" }] },
  { type: "text", text: " hello" },
];
