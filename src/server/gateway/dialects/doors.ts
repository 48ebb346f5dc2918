import type { Model } from "../../pricing/models.ts";
import { hasMessages, hasResponses } from "../providers.ts";
import { wrong } from "./read.ts";

/** Nothing is translated between dialects: a model is asked as its own provider is. */
const DOORS = {
  "/v1/chat/completions": () => true,
  "/v1/messages": (model: Model) => hasMessages(model.provider),
  "/v1/responses": (model: Model) => hasResponses(model.provider),
};

export type DoorPath = keyof typeof DOORS;

/** Throws `bad_request`, with the doors that lead to the model, when this one does not. */
export function requireDoor(model: Model, door: DoorPath): void {
  if (DOORS[door](model)) return;
  const others = (Object.keys(DOORS) as DoorPath[]).filter((path) => DOORS[path](model));
  throw wrong("model", `The provider of ${model.id} does not speak the API of ${door}. Ask for it at ${others.join(" or ")}.`);
}
