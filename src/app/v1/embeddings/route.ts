import { embeddings } from "#server/gateway/dialects/embeddings.ts";
import { completionDoor } from "#server/http/completion-door.ts";
import { preflight } from "#server/http/endpoint.ts";
import { embeddingList, embeddingsRequest } from "#server/http/shapes.ts";

export const dynamic = "force-dynamic";

export const POST = completionDoor({
  path: "/v1/embeddings",
  summary: "Create embeddings",
  description: "OpenAI's request and response; the payer is billed for the input tokens and `quota` says how much.",
  dialect: embeddings,
  body: embeddingsRequest,
  response: embeddingList,
});

export const OPTIONS = preflight;
