import { z } from "zod";
import { endpoint, preflight } from "#server/http/endpoint.ts";
import { availableModels, modelView } from "#server/http/models-view.ts";
import { model } from "#server/http/shapes.ts";
import { noSuchModel } from "#server/platform/errors.ts";
import { findModel } from "#server/pricing/models.ts";
import { nearestNames } from "#server/pricing/names.ts";

export const dynamic = "force-dynamic";

export const GET = endpoint(
  {
    method: "GET",
    path: "/v1/models/{id...}",
    summary: "Get a model",
    description: "By its id, or by another name that requests may give it: the answer has the id that is billed.",
    public: true,
    params: z.object({ id: z.string() }),
    response: model,
    errors: ["model_not_found", "internal_error"],
  },
  async ({ params }) => {
    const available = availableModels();
    const wanted = findModel(params.id)?.id;
    const found = available.find(({ id }) => id === wanted);
    if (found === undefined) {
      const ids = available.map(({ id }) => id);
      throw noSuchModel(params.id, "id", nearestNames(ids, params.id));
    }
    return modelView(found);
  },
);

export const OPTIONS = preflight;
