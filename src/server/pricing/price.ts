import type { CatalogueModel, TokenPrice } from "./catalogue.ts";

// What requests cost, in credits. Pure functions of integers, without clock and database.

/** Token counts as the provider reports them; each is a whole number of at least zero. */
export type TokenUsage = {
  promptTokens: number;
  /** Of promptTokens: read from the provider's prompt cache. */
  cachedTokens: number;
  /** Of promptTokens: written into the provider's prompt cache. */
  cacheWriteTokens: number;
  /** Of promptTokens, not in cacheWriteTokens: written into the cache for an hour. */
  longCacheWriteTokens?: number;
  completionTokens: number;
};

/**
 * What a request may write into the provider's prompt cache: nothing (`none`), input for
 * the provider's default time (`short`) or for an hour (`long`). Later ones cost more.
 */
export type CacheWrites = "none" | "short" | "long";

type Priced = Pick<CatalogueModel, "price" | "longContext" | "priceChange" | "halfInFlex" | "priority">;

const TOKENS_PER_PRICE = 1_000_000n;
const BPS_PER_WHOLE = 10_000n;

/**
 * The base cost of what was used: `ceil(sum of tokens × price / 1,000,000)` credits, and half of it in OpenAI's flex
 * tier. `tier` is the service tier that the provider reports; one without a listed price costs the list price.
 */
export function baseCost(model: Priced, usage: TokenUsage, day: string, tier?: unknown): bigint {
  const listed = priceOn(model, usage.promptTokens, day);
  const isLong = model.longContext !== undefined && usage.promptTokens > model.longContext.aboveInputTokens;
  const price = tier === "priority" && !isLong ? (model.priority ?? listed) : listed;
  const cached = BigInt(Math.min(usage.cachedTokens, usage.promptTokens));
  const written = BigInt(Math.min(usage.cacheWriteTokens, usage.promptTokens - Number(cached)));
  const kept = BigInt(Math.min(usage.longCacheWriteTokens ?? 0, usage.promptTokens - Number(cached) - Number(written)));
  const plain = BigInt(usage.promptTokens) - cached - written - kept;
  return divideRoundingUp(
    plain * price.input +
      cached * (price.cachedInput ?? price.input) +
      written * (price.cacheWriteInput ?? price.input) +
      kept * (price.longCacheWriteInput ?? price.cacheWriteInput ?? price.input) +
      BigInt(usage.completionTokens) * price.output,
    tier === "flex" && model.halfInFlex === true ? 2n * TOKENS_PER_PRICE : TOKENS_PER_PRICE,
  );
}

/** What the developer adds to a base cost: `ceil(base × bps / 10,000)` credits. */
export function markupOn(base: bigint, markupBps: number): bigint {
  return divideRoundingUp(base * BigInt(markupBps), BPS_PER_WHOLE);
}

/** How many times a balance pays for this base cost with markup; null when it costs nothing. */
export function timesPaid(balance: bigint, base: bigint, markupBps: number): bigint | null {
  const cost = base + markupOn(base, markupBps);
  return cost === 0n ? null : balance / cost;
}

/** The most that a prompt of up to `promptTokens` and an answer of up to `outputTokens` can cost, without markup. */
export function worstCase(
  model: Priced,
  promptTokens: number,
  outputTokens: number,
  day: string,
  cacheWrites: CacheWrites = "short",
): bigint {
  const price = priceOn(model, promptTokens, day);
  return divideRoundingUp(BigInt(promptTokens) * highestInput(price, cacheWrites) + BigInt(outputTokens) * price.output, TOKENS_PER_PRICE);
}

/**
 * How many output tokens a total (base and markup) pays for after a prompt of
 * `promptTokens`; below zero when it does not pay for the prompt. The inverse of
 * `worstCase`: prompt and that output cost at most `total`.
 */
export function affordableOutput(
  model: Priced,
  promptTokens: number,
  total: bigint,
  markupBps: number,
  day: string,
  cacheWrites: CacheWrites = "short",
): number {
  const price = priceOn(model, promptTokens, day);
  // The largest base that costs at most `total` with its rounded-up markup.
  const base = (total * BPS_PER_WHOLE) / (BPS_PER_WHOLE + BigInt(markupBps));
  const left = base * TOKENS_PER_PRICE - BigInt(promptTokens) * highestInput(price, cacheWrites);
  if (left < 0n) return -1;
  if (price.output === 0n) return Number.MAX_SAFE_INTEGER;
  const tokens = left / price.output;
  return tokens > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(tokens);
}

/** The price for a prompt of this size on this day (`YYYY-MM-DD`, UTC). */
export function priceOn(model: Priced, promptTokens: number, day: string): TokenPrice {
  if (model.longContext !== undefined && promptTokens > model.longContext.aboveInputTokens) return model.longContext.price;
  return currentPrice(model, day);
}

/** The price on this day without a long context: the announced one from its first day on. */
export function currentPrice(model: Priced, day: string): TokenPrice {
  return model.priceChange !== undefined && day >= model.priceChange.from ? model.priceChange.price : model.price;
}

function highestInput({ input, cacheWriteInput = input, longCacheWriteInput = cacheWriteInput }: TokenPrice, writes: CacheWrites): bigint {
  const short = writes !== "none" && cacheWriteInput > input ? cacheWriteInput : input;
  return writes === "long" && longCacheWriteInput > short ? longCacheWriteInput : short;
}

export function divideRoundingUp(dividend: bigint, divisor: bigint): bigint {
  return (dividend + divisor - 1n) / divisor;
}
