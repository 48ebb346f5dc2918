import { z } from "zod";
import { endpoint, preflight } from "#server/http/endpoint.ts";
import { availableModels, modelView } from "#server/http/models-view.ts";
import { model } from "#server/http/shapes.ts";
import { noSuchModel } from "#server/platform/errors.ts";

export const dynamic = "force-dynamic";

export const GET = endpoint(
  {
    method: "GET",
    path: "/v1/models/{id...}",
    summary: "Get a model",
    public: true,
    params: z.object({ id: z.string() }),
    response: model,
    errors: ["model_not_found", "internal_error"],
  },
  async ({ params }) => {
    const found = availableModels().find(({ id }) => id === params.id);
    if (found === undefined) throw noSuchModel(params.id, "id");
    return modelView(found);
  },
);

export const OPTIONS = preflight;
