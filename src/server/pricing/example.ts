import { findModel } from "./models.ts";
import { baseCost } from "./price.ts";

/** A model that people may have heard of, for saying what credits are worth. */
const EXAMPLE_MODEL = "gpt-4o-mini";

/** What one message of a usual length costs without markup; null where the operator took the model out. */
export function exampleMessage(now = new Date()): { model: string; base: bigint } | null {
  const model = findModel(EXAMPLE_MODEL);
  if (model === undefined) return null;
  const usage = { promptTokens: 1_000, cachedTokens: 0, cacheWriteTokens: 0, completionTokens: 400 };
  return { model: EXAMPLE_MODEL, base: baseCost(model, usage, now.toISOString().slice(0, 10)) };
}
