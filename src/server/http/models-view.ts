import { isConfigured, isSimulated } from "../gateway/providers.ts";
import { introductionOf } from "../pricing/introductions.ts";
import { allModels, type Model } from "../pricing/models.ts";
import { currentPrice } from "../pricing/price.ts";

/** The models that this server can answer with: those of configured providers, or all while the simulator stands in. */
export function availableModels(): Model[] {
  return [...allModels().values()].filter((model) => isSimulated() || isConfigured(model.provider));
}

/** One model as both list shapes read it: OpenAI's clients take `object` and `created`, Anthropic's `type`, `display_name` and `created_at`. */
export function modelView(model: Model) {
  const price = currentPrice(model, new Date().toISOString().slice(0, 10));
  const { name, at } = introductionOf(model);
  return {
    id: model.id,
    object: "model" as const,
    type: "model" as const,
    display_name: name,
    created: Math.floor(at.getTime() / 1_000),
    created_at: at.toISOString(),
    owned_by: model.provider,
    pricing: { prompt_per_1k_tokens: dollarsPerThousand(price.input), completion_per_1k_tokens: dollarsPerThousand(price.output) },
    context_length: model.contextLength,
    max_output_tokens: model.maxOutputTokens,
  };
}

/** 150,000 credits per million tokens are 0.00015 dollars per thousand. */
export function dollarsPerThousand(creditsPerMillion: bigint): string {
  const digits = creditsPerMillion.toString().padStart(10, "0");
  const fraction = digits.slice(-9).replace(/0+$/, "");
  return fraction === "" ? digits.slice(0, -9) : `${digits.slice(0, -9)}.${fraction}`;
}
