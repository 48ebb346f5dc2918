import { endpoint, preflight } from "#server/http/endpoint.ts";
import { availableModels, modelView } from "#server/http/models-view.ts";
import { modelList } from "#server/http/shapes.ts";

export const dynamic = "force-dynamic";

export const GET = endpoint(
  {
    method: "GET",
    path: "/v1/models",
    summary: "List models",
    description: "What can be asked for here, with prices and limits.",
    public: true,
    response: modelList,
    errors: ["internal_error"],
  },
  async () => ({ object: "list", data: availableModels().map(modelView) }),
);

export const OPTIONS = preflight;
