import type { Model } from "../../pricing/models.ts";
import { hasMessages, hasResponses } from "../providers.ts";
import { badRequest } from "./read.ts";

/** The endpoints at which a model can be called: requests are not translated between APIs, so its provider must have the endpoint's API. */
const ENDPOINTS = {
  "/v1/chat/completions": () => true,
  "/v1/messages": (model: Model) => hasMessages(model.provider),
  "/v1/responses": (model: Model) => hasResponses(model.provider),
};

export type EndpointPath = keyof typeof ENDPOINTS;

/** Throws `bad_request` that names the model's endpoints, when this is none of them. */
export function requireEndpoint(model: Model, endpoint: EndpointPath): void {
  if (ENDPOINTS[endpoint](model)) return;
  const others = (Object.keys(ENDPOINTS) as EndpointPath[]).filter((path) => ENDPOINTS[path](model));
  throw badRequest("model", `The provider of ${model.id} does not speak the API of ${endpoint}. Ask for it at ${others.join(" or ")}.`);
}
