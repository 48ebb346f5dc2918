import { messages } from "#server/gateway/dialects/messages.ts";
import { completionDoor } from "#server/http/completion-door.ts";
import { preflight } from "#server/http/endpoint.ts";
import { message, messageRequest } from "#server/http/shapes.ts";

export const dynamic = "force-dynamic";

export const POST = completionDoor({
  path: "/v1/messages",
  summary: "Create a message",
  description:
    "Anthropic's request and response, as JSON or as server-sent events, for models whose provider has that API. Every parameter goes to the provider as it is; the payer is billed and `quota` says how much.",
  dialect: messages,
  headers: {
    "anthropic-version": "2026-10-21, or 2023-06-01, which is what is meant without it.",
    "anthropic-beta": "Names of betas, separated by commas. Those that can change what a request costs are refused.",
  },
  body: messageRequest,
  response: message,
  streams: "the provider's events, with `quota` on the last, `message_stop`.",
});

export const OPTIONS = preflight;
