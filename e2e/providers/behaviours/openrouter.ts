import {
  chunk,
  completionChunks,
  delta,
  event,
  events,
  namedEvents,
  responseEvents,
  responseUsage,
  usage,
} from "../../../src/testing/upstream-answers.ts";
import type { Provider } from "../provider.ts";

/** OpenRouter: https://openrouter.ai/docs/api-reference/parameters */
export const openrouter: Provider = { id: "openrouter", model: "openrouter/moonshotai/kimi-k3", refusal: () => null };

/** A choice whose host failed after the stream had begun: https://openrouter.ai/docs/api-reference/errors */
export const failedChoice = {
  index: 0,
  delta: { content: "" },
  finish_reason: "error",
  error: { code: 502, message: "secret host is down", metadata: { provider_name: "secret" } },
};

/** Kimi's usage, with `cached_tokens` at the top level, not in `prompt_tokens_details`: https://platform.moonshot.ai/docs/api/chat */
export const kimiUsage = { ...usage(1_000, 100), cached_tokens: 900 };

const [role = {}, text = {}, end = {}] = completionChunks(["Hello"]);

/** The usage comes after the finish_reason, in a chunk with an empty choice: https://openrouter.ai/docs/use-cases/usage-accounting */
export const openrouterStream = events([
  ": OPENROUTER PROCESSING\n\n",
  ...[role, text, end, chunk([delta({ role: "assistant", content: "" })], { usage: kimiUsage })].map(event),
  event("[DONE]"),
]);

/** A stream of OpenRouter's Responses API (beta), which ends with `response.done`: https://openrouter.ai/docs/api-reference/responses-api/basic-usage */
export const openrouterDone = namedEvents(
  responseEvents(["Hello"], { usage: responseUsage(1_000, 100) }).map((each) =>
    (each as { type: string }).type === "response.completed" ? { ...each, type: "response.done" } : each,
  ),
);
