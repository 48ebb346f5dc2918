import { introductionOf } from "../pricing/introductions.ts";
import type { Model } from "../pricing/models.ts";
import { currentPrice } from "../pricing/price.ts";

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

/** Decimal text: 150,000 credits per million tokens are 0.00015 dollars per thousand. */
export function dollarsPerThousand(creditsPerMillion: bigint): string {
  const digits = creditsPerMillion.toString().padStart(10, "0");
  const fraction = digits.slice(-9).replace(/0+$/, "");
  return fraction === "" ? digits.slice(0, -9) : `${digits.slice(0, -9)}.${fraction}`;
}
