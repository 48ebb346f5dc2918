import { chatCompletions } from "#server/gateway/dialects/chat-completions.ts";
import { completionDoor } from "#server/http/completion-door.ts";
import { preflight } from "#server/http/endpoint.ts";
import { chatCompletion, chatCompletionRequest } from "#server/http/shapes.ts";

export const dynamic = "force-dynamic";

export const POST = completionDoor({
  path: "/v1/chat/completions",
  summary: "Create a chat completion",
  description:
    "OpenAI's request and response, as JSON or as server-sent events. Every parameter goes to the provider as it is; the payer is billed and `quota` says how much.",
  dialect: chatCompletions,
  body: chatCompletionRequest,
  response: chatCompletion,
  streams: "the provider's events, with `quota` on the one that says how it ended.",
});

export const OPTIONS = preflight;
