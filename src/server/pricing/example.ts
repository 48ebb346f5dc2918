import { findModel } from "./models.ts";
import { baseCost } from "./price.ts";

/** A well-known model, for screens that say what credits pay for. */
const EXAMPLE_MODEL = "gpt-4o-mini";

/** The base cost of a message of 1,000 prompt and 400 completion tokens; null when the model is not in the list. */
export function exampleMessage(now = new Date()): { model: string; base: bigint } | null {
  const model = findModel(EXAMPLE_MODEL);
  if (model === undefined) return null;
  const usage = { promptTokens: 1_000, cachedTokens: 0, cacheWriteTokens: 0, completionTokens: 400 };
  return { model: EXAMPLE_MODEL, base: baseCost(model, usage, now.toISOString().slice(0, 10)) };
}
