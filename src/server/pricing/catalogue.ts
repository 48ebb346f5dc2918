// The models Quota can sell, at the providers' public list prices.
//
// Each model has the provider's official page and the day on which a public copy of its input and output price was last
// seen; limits and cached price may come from an older copy. That day may be weeks ago: operators can tell from it how
// old a figure is, and compare it with the page before they charge users. Figures were compared with public price lists.
//
// Only models billed by text tokens are listed, at the standard speed.

export type ProviderId = "openai" | "google" | "anthropic" | "mistral" | "groq" | "deepseek" | "xai" | "openrouter" | "ollama" | "vllm";

/** Credits per 1,000,000 tokens; 1 credit = 1 micro-dollar, so $0.15 per million tokens is 150_000n. */
export type TokenPrice = {
  input: bigint;
  /** Input read from the provider's prompt cache. */
  cachedInput?: bigint;
  /** Input written into the provider's prompt cache, where that costs more than plain input. */
  cacheWriteInput?: bigint;
  /** Input written into the cache for an hour. */
  longCacheWriteInput?: bigint;
  output: bigint;
};

export type CatalogueModel = {
  /** The model's name in requests of apps. */
  id: string;
  provider: ProviderId;
  /** The model's name in requests to the provider. */
  upstreamId: string;
  kind: "chat" | "embedding";
  /** Tokens of input and output; of input alone where the provider limits both separately. */
  contextLength: number;
  /** 0 for embeddings. */
  maxOutputTokens: number;
  price: TokenPrice;
  /** Above this many prompt tokens the provider charges the whole request at the other price. */
  longContext?: { aboveInputTokens: number; price: TokenPrice };
  /** Audio input has a price of its own, which is not listed; such input is refused. */
  audioCostsMore?: boolean;
  /** A price that the provider has announced, and its first day (UTC). */
  priceChange?: { from: string; price: TokenPrice };
  /** Requests that the provider serves in its flex tier cost half of every price here. */
  halfInFlex?: boolean;
  /** The price of requests that the provider serves in its priority tier, where it is listed. Not for a long context. */
  priority?: TokenPrice;
  /** Upper bound of the prompt tokens one image can cost, where images are accepted. */
  maxTokensPerImage?: number;
  /** Its reasoning tokens count as output, and the answer does not show them. */
  reasoning?: boolean;
  source: { url: string; checkedOn: string };
};

/**
 * Dollars as printed on a price page, in credits. The decimal digits are shifted, without floating point, so "0.15" is
 * exactly 150_000n. Throws for a price finer than a micro-dollar, because rounding would change it unnoticed.
 */
export function usd(dollars: string): bigint {
  const match = /^(\d{1,9})(?:\.(\d{1,6}))?$/.exec(dollars);
  if (!match) throw new Error(`Not a dollar price of at most six decimals: ${JSON.stringify(dollars)}`);
  return BigInt(match[1] + (match[2] ?? "").padEnd(6, "0"));
}

/** In the order of the price pages: input, output, and the price of cached input where one is published. */
function per1M(input: string, output: string, cachedInput?: string): TokenPrice {
  return cachedInput === undefined
    ? { input: usd(input), output: usd(output) }
    : { input: usd(input), cachedInput: usd(cachedInput), output: usd(output) };
}

/** OpenAI bills tokens that it writes into the prompt cache at 1.25 times the input price. */
function withCacheWrites(price: TokenPrice): TokenPrice {
  return { ...price, cacheWriteInput: (price.input * 5n + 3n) / 4n };
}

/** Anthropic's multiples of the input price: a tenth for what is read from the prompt cache, 1.25 to write it there, 2 for an hour. */
function withAnthropicCache({ input, output }: TokenPrice): TokenPrice {
  return { input, cachedInput: input / 10n, cacheWriteInput: (input * 5n + 3n) / 4n, longCacheWriteInput: input * 2n, output };
}

type Extras = Pick<CatalogueModel, "audioCostsMore" | "longContext" | "priceChange" | "maxTokensPerImage" | "priority" | "reasoning">;

/** Makes entries for one provider's models, with the address of its price page and the prefix of their ids, if any. */
function seller(provider: ProviderId, page: string | ((upstreamId: string) => string), prefix = "") {
  const source = (upstreamId: string, checkedOn: string) => ({
    url: typeof page === "string" ? page : page(upstreamId),
    checkedOn,
  });

  function chat(
    upstreamId: string,
    checkedOn: string,
    price: TokenPrice,
    contextLength: number,
    maxOutputTokens: number,
    extras: Extras = {},
  ): CatalogueModel {
    return {
      id: prefix + upstreamId,
      provider,
      upstreamId,
      kind: "chat",
      contextLength,
      maxOutputTokens,
      price,
      // https://developers.openai.com/api/docs/guides/flex-processing
      ...(provider === "openai" ? { halfInFlex: true } : {}),
      ...extras,
      source: source(upstreamId, checkedOn),
    };
  }

  function embedding(upstreamId: string, checkedOn: string, input: string, contextLength: number): CatalogueModel {
    return {
      id: prefix + upstreamId,
      provider,
      upstreamId,
      kind: "embedding",
      contextLength,
      maxOutputTokens: 0,
      price: { input: usd(input), output: 0n },
      source: source(upstreamId, checkedOn),
    };
  }

  return { chat, embedding };
}

function above(aboveInputTokens: number, price: TokenPrice): CatalogueModel["longContext"] {
  return { aboveInputTokens, price };
}

/*
 * OpenAI.
 *
 * From GPT-5.6 on, tokens written into the prompt cache cost 1.25 times the input price; usage reports their count in
 * prompt_tokens_details.cache_write_tokens.
 *
 * Announced shutdowns: gpt-5, gpt-5-mini, gpt-5-nano and o3 on 2026-12-11; gpt-4o, gpt-4o-mini, gpt-4.1 and
 * gpt-4.1-mini on 2027-01-14; gpt-5.4-nano on 2027-04-01. gpt-5.6-sol is left out: its promotional price was only
 * assured through 2026-11-21, and the next one was not seen.
 *
 * Tiers: flex costs half, like a batch. The prices of priority are those of https://openai.com/api-priority-processing/
 * as seen on 2026-11-29; newer models were not on that page.
 *
 * Images: older models count 512-pixel tiles, at most 8 an image (gpt-4o-mini: 2833 + 8 x 5667). Small models since
 * gpt-4.1-mini count 1,536 patches of 32 pixels, times 1.62 for a mini and 2.46 for a nano. From GPT-5.4 on an image
 * sent at its original size may take 10,000 patches. The factors of the newest models were not seen, so the bounds
 * assume 1.2 for the large ones and the nano's 2.46 for the smallest.
 */
const openai = seller("openai", (id) => `https://developers.openai.com/api/docs/models/${id}`);
const olderOpenai = seller("openai", "https://developers.openai.com/api/docs/pricing");
const aboveOpenai = (input: string, output: string, cached: string) => above(272_000, per1M(input, output, cached));
const aboveOpenaiWithCacheWrites = (input: string, output: string, cached: string) =>
  above(272_000, withCacheWrites(per1M(input, output, cached)));

const largeImage = 12_000;
const miniImage = 16_200;
const nanoImage = 24_600;

// biome-ignore format: one model on each line, to be read beside the price page
const openaiModels: CatalogueModel[] = [
  openai.chat("gpt-6-astra", "2026-10-16", withCacheWrites(per1M("10.00", "50.00", "1.00")), 1_050_000, 128_000, { longContext: aboveOpenaiWithCacheWrites("20.00", "75.00", "2.00"), maxTokensPerImage: largeImage, reasoning: true }),
  // Takes no function calls on the chat completions endpoint; the price is the same with or without.
  openai.chat("gpt-6.1-sol", "2026-10-13", withCacheWrites(per1M("2.00", "10.00", "0.10")), 1_050_000, 128_000, { longContext: aboveOpenaiWithCacheWrites("4.00", "15.00", "0.20"), maxTokensPerImage: largeImage, reasoning: true }),
  openai.chat("gpt-6.1-terra", "2026-10-26", withCacheWrites(per1M("1.00", "5.00", "0.05")), 1_050_000, 128_000, { longContext: aboveOpenaiWithCacheWrites("2.00", "7.50", "0.10"), maxTokensPerImage: largeImage, reasoning: true }),
  openai.chat("gpt-6-sol", "2026-10-16", withCacheWrites(per1M("2.00", "10.00", "0.20")), 1_050_000, 128_000, { longContext: aboveOpenaiWithCacheWrites("4.00", "15.00", "0.40"), maxTokensPerImage: largeImage, reasoning: true }),
  openai.chat("gpt-6-luna", "2026-10-16", withCacheWrites(per1M("0.10", "0.50", "0.01")), 1_050_000, 128_000, { longContext: aboveOpenaiWithCacheWrites("0.20", "0.75", "0.02"), maxTokensPerImage: nanoImage, reasoning: true }),
  openai.chat("gpt-5.6-terra", "2026-10-16", withCacheWrites(per1M("2.00", "12.00", "0.20")), 1_050_000, 128_000, { longContext: aboveOpenaiWithCacheWrites("4.00", "18.00", "0.40"), maxTokensPerImage: largeImage, reasoning: true }),
  openai.chat("gpt-5.6-luna", "2026-10-16", withCacheWrites(per1M("0.20", "1.20", "0.02")), 1_050_000, 128_000, { longContext: aboveOpenaiWithCacheWrites("0.40", "1.80", "0.04"), maxTokensPerImage: nanoImage, reasoning: true }),
  olderOpenai.chat("gpt-5.5", "2026-08-05", per1M("5.00", "30.00", "0.50"), 1_050_000, 128_000, { longContext: aboveOpenai("10.00", "45.00", "1.00"), maxTokensPerImage: largeImage, reasoning: true }),
  olderOpenai.chat("gpt-5.4", "2026-08-05", per1M("2.50", "15.00", "0.25"), 1_050_000, 128_000, { longContext: aboveOpenai("5.00", "22.50", "0.50"), priority: per1M("5.00", "30.00", "0.50"), maxTokensPerImage: largeImage, reasoning: true }),
  olderOpenai.chat("gpt-5.4-mini", "2026-08-21", per1M("0.75", "4.50", "0.075"), 400_000, 128_000, { priority: per1M("1.50", "9.00", "0.15"), maxTokensPerImage: miniImage, reasoning: true }),
  olderOpenai.chat("gpt-5.4-nano", "2026-08-21", per1M("0.20", "1.25", "0.02"), 400_000, 128_000, { maxTokensPerImage: nanoImage, reasoning: true }),
  olderOpenai.chat("gpt-5.2", "2026-08-21", per1M("1.75", "14.00", "0.175"), 400_000, 128_000, { priority: per1M("3.50", "28.00", "0.35"), maxTokensPerImage: 2_500, reasoning: true }),
  olderOpenai.chat("gpt-5", "2026-08-21", per1M("1.25", "10.00", "0.125"), 400_000, 128_000, { priority: per1M("2.50", "20.00", "0.25"), maxTokensPerImage: 1_190, reasoning: true }),
  olderOpenai.chat("gpt-5-mini", "2026-08-21", per1M("0.25", "2.00", "0.025"), 400_000, 128_000, { priority: per1M("0.45", "3.60", "0.045"), maxTokensPerImage: 2_489, reasoning: true }),
  olderOpenai.chat("gpt-5-nano", "2026-08-21", per1M("0.05", "0.40", "0.005"), 400_000, 128_000, { maxTokensPerImage: 3_779, reasoning: true }),
  olderOpenai.chat("o3", "2026-08-21", per1M("2.00", "8.00", "0.50"), 200_000, 100_000, { priority: per1M("3.50", "14.00", "0.875"), maxTokensPerImage: 1_275, reasoning: true }),
  olderOpenai.chat("gpt-4.1", "2026-08-21", per1M("2.00", "8.00", "0.50"), 1_047_576, 32_768, { priority: per1M("3.50", "14.00", "0.875"), maxTokensPerImage: 1_445 }),
  olderOpenai.chat("gpt-4.1-mini", "2026-08-21", per1M("0.40", "1.60", "0.10"), 1_047_576, 32_768, { priority: per1M("0.70", "2.80", "0.175"), maxTokensPerImage: 2_489 }),
  olderOpenai.chat("gpt-4o", "2026-08-21", per1M("2.50", "10.00", "1.25"), 128_000, 16_384, { priority: per1M("4.25", "17.00", "2.125"), maxTokensPerImage: 1_445 }),
  olderOpenai.chat("gpt-4o-mini", "2026-08-21", per1M("0.15", "0.60", "0.075"), 128_000, 16_384, { priority: per1M("0.25", "1.00", "0.125"), maxTokensPerImage: 48_169 }),
  olderOpenai.embedding("text-embedding-3-small", "2026-08-21", "0.02", 8_191),
  olderOpenai.embedding("text-embedding-3-large", "2026-08-21", "0.13", 8_191),
];

/*
 * Google, through its OpenAI-compatible endpoint. Thinking is billed as output.
 *
 * Prices with an end: gemini-4-argon becomes $4.00 / $20.00 / $0.20 on 2026-12-01 and gemini-3.8-flash becomes
 * $1.50 / $7.50 / $0.15 on 2027-01-01. On 2026-12-01 gemini-2.5-flash ends: requests for it then go to
 * gemini-3.5-flash-lite, which costs the same. gemini-2.5-pro ends that day too and is already closed to new users,
 * so it is not listed.
 *
 * The prices are for text and images. gemini-2.5-flash, gemini-2.5-flash-lite and gemini-3.1-flash-lite charge more
 * for audio. Images: Gemini 3 and later spend at most 2,240 tokens, at the highest resolution; Gemini 2.5 cuts an
 * image into tiles of 258 tokens, and 16 tiles is more than any ordinary shape needs.
 */
const google = seller("google", "https://ai.google.dev/gemini-api/docs/pricing");

// biome-ignore format: one model on each line, to be read beside the price page
const googleModels: CatalogueModel[] = [
  google.chat("gemini-4-argon", "2026-10-13", per1M("2.00", "10.00", "0.10"), 1_048_576, 65_536, { priceChange: { from: "2026-12-01", price: per1M("4.00", "20.00", "0.20") }, maxTokensPerImage: 2_240, reasoning: true }),
  google.chat("gemini-3.8-flash", "2026-10-07", per1M("0.75", "3.75", "0.075"), 1_048_576, 65_536, { priceChange: { from: "2027-01-01", price: per1M("1.50", "7.50", "0.15") }, maxTokensPerImage: 2_240, reasoning: true }),
  google.chat("gemini-3.5-flash", "2026-10-07", per1M("1.50", "9.00", "0.15"), 1_048_576, 65_536, { maxTokensPerImage: 2_240, reasoning: true }),
  google.chat("gemini-3.5-flash-lite", "2026-10-07", per1M("0.30", "2.50", "0.03"), 1_048_576, 65_536, { maxTokensPerImage: 2_240, reasoning: true }),
  google.chat("gemini-3.1-pro-preview", "2026-10-07", per1M("2.00", "12.00", "0.20"), 1_048_576, 65_536, { longContext: above(200_000, per1M("4.00", "18.00", "0.40")), maxTokensPerImage: 2_240, reasoning: true }),
  google.chat("gemini-3.1-flash-lite", "2026-07-24", per1M("0.25", "1.50", "0.025"), 1_048_576, 65_536, { audioCostsMore: true, maxTokensPerImage: 2_240, reasoning: true }),
  google.chat("gemini-2.5-flash", "2026-08-05", per1M("0.30", "2.50", "0.03"), 1_048_576, 65_536, { audioCostsMore: true, maxTokensPerImage: 4_128, reasoning: true }),
  google.chat("gemini-2.5-flash-lite", "2026-08-05", per1M("0.10", "0.40", "0.01"), 1_048_576, 65_536, { audioCostsMore: true, maxTokensPerImage: 4_128, reasoning: true }),
];

/*
 * Anthropic. Prompts are cached where a request asks for it, which only its own Messages API takes; its
 * OpenAI-compatible endpoint neither caches nor reports cached tokens.
 *
 * Images: the models since Opus 4.7 see higher resolutions, at up to 4,784 tokens; the older ones stop near 1,600.
 */
const anthropic = seller("anthropic", "https://platform.claude.com/docs/en/about-claude/pricing");
const anthropicPrice = (input: string, output: string) => withAnthropicCache(per1M(input, output));

// biome-ignore format: one model on each line, to be read beside the price page
const anthropicModels: CatalogueModel[] = [
  anthropic.chat("claude-fable-5-1", "2026-10-24", anthropicPrice("10.00", "50.00"), 1_000_000, 128_000, { maxTokensPerImage: 4_784, reasoning: true }),
  anthropic.chat("claude-opus-5-5", "2026-10-24", anthropicPrice("4.00", "20.00"), 1_000_000, 128_000, { maxTokensPerImage: 4_784, reasoning: true }),
  anthropic.chat("claude-opus-5", "2026-10-24", anthropicPrice("5.00", "25.00"), 1_000_000, 128_000, { maxTokensPerImage: 4_784, reasoning: true }),
  anthropic.chat("claude-opus-4-8", "2026-10-24", anthropicPrice("5.00", "25.00"), 1_000_000, 128_000, { maxTokensPerImage: 4_784 }),
  anthropic.chat("claude-opus-4-6", "2026-10-24", anthropicPrice("5.00", "25.00"), 1_000_000, 128_000, { maxTokensPerImage: 1_600 }),
  anthropic.chat("claude-sonnet-5-5", "2026-10-24", anthropicPrice("2.00", "10.00"), 1_000_000, 128_000, { maxTokensPerImage: 4_784, reasoning: true }),
  anthropic.chat("claude-sonnet-5", "2026-10-24", anthropicPrice("2.00", "10.00"), 1_000_000, 128_000, { maxTokensPerImage: 4_784, reasoning: true }),
  anthropic.chat("claude-sonnet-4-6", "2026-10-24", anthropicPrice("3.00", "15.00"), 1_000_000, 64_000, { maxTokensPerImage: 1_600 }),
  anthropic.chat("claude-haiku-5-5", "2026-10-24", anthropicPrice("0.10", "0.50"), 1_000_000, 128_000, { longContext: above(100_000, anthropicPrice("0.50", "2.50")), maxTokensPerImage: 4_784, reasoning: true }),
  anthropic.chat("claude-haiku-4-5", "2026-10-24", anthropicPrice("1.00", "5.00"), 200_000, 64_000, { maxTokensPerImage: 1_600 }),
];

/*
 * Mistral. The bound on images is one token for each 16-pixel square of a 1024-pixel image, with its row breaks.
 * Mistral Large 4 is listed at its full price: the half price of its preview has ended.
 */
const mistral = seller("mistral", "https://docs.mistral.ai/inference/pricing");

// biome-ignore format: one model on each line, to be read beside the price page
const mistralModels: CatalogueModel[] = [
  mistral.chat("mistral-large-4", "2026-10-20", per1M("1.36", "4.18", "0.14"), 524_288, 262_144, { maxTokensPerImage: 4_200, reasoning: true }),
  mistral.chat("mistral-large-2512", "2026-06-09", per1M("0.50", "1.50", "0.05"), 262_144, 262_144, { maxTokensPerImage: 4_200 }),
  mistral.chat("mistral-medium-3-5", "2026-08-24", per1M("1.50", "7.50", "0.15"), 262_144, 262_144, { maxTokensPerImage: 4_200, reasoning: true }),
  mistral.chat("mistral-small-2603", "2026-06-09", per1M("0.15", "0.60", "0.015"), 256_000, 256_000, { maxTokensPerImage: 4_200, reasoning: true }),
  mistral.chat("codestral-2508", "2026-08-27", per1M("0.30", "0.90", "0.03"), 128_000, 128_000),
  mistral.chat("ministral-8b-2512", "2026-08-27", per1M("0.15", "0.15", "0.015"), 262_144, 262_144, { maxTokensPerImage: 4_200 }),
  mistral.embedding("mistral-embed", "2026-08-21", "0.10", 8_000),
];

/* Groq. Its Llama models were shut down on 2026-08-16. The Qwen model is a preview, which Groq may shut down without notice. */
const groq = seller("groq", "https://groq.com/pricing", "groq/");

// biome-ignore format: one model on each line, to be read beside the price page
const groqModels: CatalogueModel[] = [
  groq.chat("openai/gpt-oss-120b", "2026-07-24", per1M("0.15", "0.60", "0.075"), 131_072, 65_536, { reasoning: true }),
  groq.chat("openai/gpt-oss-20b", "2026-07-24", per1M("0.075", "0.30", "0.0375"), 131_072, 65_536, { reasoning: true }),
  groq.chat("qwen/qwen3.8-27b", "2026-08-29", per1M("0.80", "4.00", "0.40"), 131_042, 16_384, { maxTokensPerImage: 16_384, reasoning: true }),
];

/*
 * DeepSeek charges half of these prices outside its peak hours, which are 01:00-04:00 and 06:00-10:00 UTC from
 * Monday to Friday. Prices here do not depend on the hour, so they are the peak prices, and no hour costs more than is billed.
 */
const deepseek = seller("deepseek", "https://api-docs.deepseek.com/quick_start/pricing");

// biome-ignore format: one model on each line, to be read beside the price page
const deepseekModels: CatalogueModel[] = [
  deepseek.chat("deepseek-flash", "2026-10-16", per1M("0.30", "1.20", "0.006"), 1_000_000, 384_000, { maxTokensPerImage: 1_024, reasoning: true }),
  deepseek.chat("deepseek-v4-pro", "2026-10-16", per1M("1.32", "3.96", "0.044"), 1_000_000, 384_000, { reasoning: true }),
];

/*
 * xAI charges the long-context price from 200,000 tokens on, that is above 199,999. It publishes no limit on output,
 * so the context is the only bound. The bound on images is twice the 1,792 tokens its older models documented.
 */
const xai = seller("xai", "https://docs.x.ai/developers/pricing");
const aboveXai = (input: string, output: string, cached: string) => above(199_999, per1M(input, output, cached));

// biome-ignore format: one model on each line, to be read beside the price page
const xaiModels: CatalogueModel[] = [
  xai.chat("grok-4.7", "2026-09-29", per1M("2.00", "6.00", "0.50"), 500_000, 500_000, { longContext: aboveXai("4.00", "12.00", "1.00"), maxTokensPerImage: 3_584, reasoning: true }),
  xai.chat("grok-4.6", "2026-09-21", per1M("2.00", "6.00", "0.50"), 500_000, 500_000, { longContext: aboveXai("4.00", "12.00", "1.00"), maxTokensPerImage: 3_584, reasoning: true }),
  xai.chat("grok-4.3", "2026-08-05", per1M("1.25", "2.50", "0.20"), 1_000_000, 1_000_000, { longContext: aboveXai("2.50", "5.00", "0.40"), maxTokensPerImage: 3_584, reasoning: true }),
  xai.chat("grok-4.20-0309-reasoning", "2026-08-05", per1M("1.25", "2.50", "0.20"), 1_000_000, 1_000_000, { longContext: aboveXai("2.50", "5.00", "0.40"), maxTokensPerImage: 3_584, reasoning: true }),
  xai.chat("grok-4.20-0309-non-reasoning", "2026-08-05", per1M("1.25", "2.50", "0.20"), 1_000_000, 1_000_000, { longContext: aboveXai("2.50", "5.00", "0.40"), maxTokensPerImage: 3_584 }),
  xai.chat("grok-build-0.1", "2026-08-05", per1M("1.00", "2.00", "0.20"), 256_000, 256_000, { longContext: aboveXai("2.00", "4.00", "0.40"), maxTokensPerImage: 3_584, reasoning: true }),
];

/*
 * OpenRouter charges the price of the host that it picks, so for a model of many hosts a list price is only an estimate.
 * The models listed have the price of their maker; OpenRouter may pick a cheaper host.
 */
const openrouter = seller("openrouter", (slug) => `https://openrouter.ai/${slug}`, "openrouter/");

// biome-ignore format: one model on each line, to be read beside the price page
const openrouterModels: CatalogueModel[] = [
  openrouter.chat("openai/gpt-6.1-terra", "2026-10-26", per1M("1.00", "5.00", "0.05"), 1_050_000, 128_000, { longContext: aboveOpenai("2.00", "7.50", "0.10"), maxTokensPerImage: largeImage, reasoning: true }),
  openrouter.chat("moonshotai/kimi-k3", "2026-08-21", per1M("3.00", "15.00", "0.30"), 1_048_576, 131_072, { maxTokensPerImage: 16_384, reasoning: true }),
  openrouter.chat("qwen/qwen3.8-max", "2026-08-21", per1M("2.00", "6.00", "0.25"), 1_000_000, 65_536, { maxTokensPerImage: 16_384, reasoning: true }),
  openrouter.chat("minimax/minimax-m3", "2026-08-21", per1M("0.30", "1.20", "0.06"), 1_048_576, 512_000, { longContext: above(512_000, per1M("0.60", "2.40", "0.12")), maxTokensPerImage: 16_384, reasoning: true }),
];

export const catalogue: readonly CatalogueModel[] = [
  ...openaiModels,
  ...googleModels,
  ...anthropicModels,
  ...mistralModels,
  ...groqModels,
  ...deepseekModels,
  ...xaiModels,
  ...openrouterModels,
];
