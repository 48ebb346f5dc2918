import { availableModels } from "#server/gateway/available.ts";
import { endpoint, preflight } from "#server/http/endpoint.ts";
import { modelView } from "#server/http/models-view.ts";
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
  async () => {
    const data = availableModels().map(modelView);
    return { object: "list", data, has_more: false, first_id: data.at(0)?.id ?? null, last_id: data.at(-1)?.id ?? null };
  },
);

export const OPTIONS = preflight;
