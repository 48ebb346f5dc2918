import { readFileSync } from "node:fs";
import { z } from "zod";
import { env } from "#env";
import { type CatalogueModel, catalogue, usd } from "./catalogue.ts";
import { resolveName } from "./names.ts";

/** A model that requests can name: from the catalogue, or an operator's own. */
export type Model = Omit<CatalogueModel, "source"> & {
  /** An operator's own model, whose limits the provider may not enforce. */
  custom: boolean;
};

const dollarsPerMillion = z.string().transform((text, context) => {
  try {
    return usd(text);
  } catch (error) {
    context.addIssue({ code: "custom", message: (error as Error).message });
    return z.NEVER;
  }
});

const customModel = z.strictObject({
  id: z.string().min(1).max(200),
  provider: z.enum(["openai", "google", "anthropic", "mistral", "groq", "deepseek", "xai", "openrouter", "ollama", "vllm"]),
  upstream_id: z.string().min(1).optional(),
  kind: z.enum(["chat", "embedding"]).default("chat"),
  context_length: z.number().int().positive(),
  max_output_tokens: z.number().int().min(0),
  /** Dollars per 1,000,000 tokens, as text: "0.15". */
  price: z.strictObject({
    input: dollarsPerMillion,
    cached_input: dollarsPerMillion.optional(),
    cache_write_input: dollarsPerMillion.optional(),
    long_cache_write_input: dollarsPerMillion.optional(),
    output: dollarsPerMillion,
  }),
  max_tokens_per_image: z.number().int().positive().optional(),
});

let models: ReadonlyMap<string, Model> | undefined;

/** The model with this id, or the one that the name stands for (names.ts), with its name at the provider as `upstreamId`. */
export function findModel(name: string): Model | undefined {
  return resolveName(allModels(), name);
}

/** Every model by id: the catalogue, then the operator's own, which replace equal ids. Throws when their file is wrong. */
export function allModels(): ReadonlyMap<string, Model> {
  models ??= new Map(
    [...catalogue.map((model) => ({ ...model, custom: false })), ...readCustomModels(env.QUOTA_MODELS_FILE)].map((model) => [
      model.id,
      model,
    ]),
  );
  return models;
}

export function readCustomModels(file: string | undefined): Model[] {
  if (file === undefined) return [];
  const parsed = z.array(customModel).safeParse(JSON.parse(readFileSync(file, "utf8")));
  if (!parsed.success) throw new Error(`QUOTA_MODELS_FILE ${file}: ${z.prettifyError(parsed.error)}`);
  return parsed.data.map((model) => ({
    id: model.id,
    provider: model.provider,
    upstreamId: model.upstream_id ?? model.id,
    kind: model.kind,
    contextLength: model.context_length,
    maxOutputTokens: model.max_output_tokens,
    price: {
      input: model.price.input,
      output: model.price.output,
      ...(model.price.cached_input === undefined ? {} : { cachedInput: model.price.cached_input }),
      ...(model.price.cache_write_input === undefined ? {} : { cacheWriteInput: model.price.cache_write_input }),
      ...(model.price.long_cache_write_input === undefined ? {} : { longCacheWriteInput: model.price.long_cache_write_input }),
    },
    ...(model.max_tokens_per_image === undefined ? {} : { maxTokensPerImage: model.max_tokens_per_image }),
    custom: true,
  }));
}
