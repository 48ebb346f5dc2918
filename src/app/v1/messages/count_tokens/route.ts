import { messagesCount } from "#server/gateway/dialects/messages.ts";
import { countDoor } from "#server/http/count-door.ts";
import { preflight } from "#server/http/endpoint.ts";
import { messageCount, messageCountRequest } from "#server/http/shapes.ts";

export const dynamic = "force-dynamic";

export const POST = countDoor({
  path: "/v1/messages/count_tokens",
  summary: "Count a message's tokens",
  description:
    "Anthropic's count of a prompt, without its answer. Free. Where the provider has no count of its own, the tokens are counted here, with OpenAI's tokenizer.",
  dialect: messagesCount,
  body: messageCountRequest,
  response: messageCount,
});

export const OPTIONS = preflight;
