import { type Behaviour, json, messageEvents, messageUsage, namedEvents } from "../../../src/testing/upstream-answers.ts";
import type { Provider } from "../provider.ts";

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

/**
 * What a message has when Anthropic's classifiers stop it, possibly after some output:
 * https://platform.claude.com/docs/en/test-and-evaluate/strengthen-guardrails/handle-streaming-refusals
 */
const REFUSED = {
  stop_reason: "refusal",
  stop_details: { type: "refusal", category: "cyber", explanation: "This request was declined because it could enable cyber harm." },
};

export function refusedMessage(text: string): Behaviour {
  return json({
    id: "msg_fake",
    type: "message",
    role: "assistant",
    model: "claude-sonnet-4-6",
    content: text === "" ? [] : [{ type: "text", text }],
    ...REFUSED,
    stop_sequence: null,
    usage: messageUsage(1_000, 100),
  });
}

export function refusedStream(text: string): Behaviour {
  const all = messageEvents(text === "" ? [] : [text], { usage: messageUsage(1_000, 100) }) as { type: string; delta?: object }[];
  const refused = all.map((each) => (each.type === "message_delta" ? { ...each, delta: { ...each.delta, ...REFUSED } } : each));
  return namedEvents(text === "" ? refused.filter(({ type }) => !type.startsWith("content_block")) : refused);
}
