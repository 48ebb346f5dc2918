import { responses } from "#server/gateway/dialects/responses.ts";
import { completionDoor } from "#server/http/completion-door.ts";
import { preflight } from "#server/http/endpoint.ts";
import { response, responseRequest } from "#server/http/shapes.ts";

export const dynamic = "force-dynamic";

export const POST = completionDoor({
  path: "/v1/responses",
  summary: "Create a response",
  description:
    "OpenAI's Responses API, as JSON or as server-sent events, for models whose provider has it. Nothing is kept at the provider, so `store` is false. Every other parameter goes to the provider as it is; the payer is billed and `quota` says how much.",
  dialect: responses,
  body: responseRequest,
  response,
  streams: "the provider's events, with `quota` on the last, `response.completed` or `response.incomplete`, and on the response in it.",
});

export const OPTIONS = preflight;
