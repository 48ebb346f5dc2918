import { z } from "zod";
import { availableModels, unknownModel } from "#server/gateway/available.ts";
import { endpoint, preflight } from "#server/http/endpoint.ts";
import { modelView } from "#server/http/models-view.ts";
import { model } from "#server/http/shapes.ts";
import { findModel } from "#server/pricing/models.ts";

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
    const wanted = findModel(params.id)?.id;
    const found = availableModels().find(({ id }) => id === wanted);
    if (found === undefined) throw unknownModel(params.id, "id");
    return modelView(found);
  },
);

export const OPTIONS = preflight;
