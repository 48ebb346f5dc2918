import { responsesCount } from "#server/gateway/dialects/responses.ts";
import { countDoor } from "#server/http/count-door.ts";
import { preflight } from "#server/http/endpoint.ts";
import { responseCount, responseRequest } from "#server/http/shapes.ts";

export const dynamic = "force-dynamic";

export const POST = countDoor({
  path: "/v1/responses/input_tokens",
  summary: "Count a response's input tokens",
  description:
    "OpenAI's count of an input, without its answer. Free. Where the provider has no count of its own, the tokens are counted here, with OpenAI's tokenizer.",
  dialect: responsesCount,
  body: responseRequest,
  response: responseCount,
  members: { object: "response.input_tokens" },
});

export const OPTIONS = preflight;
