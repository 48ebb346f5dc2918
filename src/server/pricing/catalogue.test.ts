import { expect, test } from "vitest";
import { type CatalogueModel, catalogue, type TokenPrice, usd } from "./catalogue.ts";

/** The day the catalogue was last revised: no source may claim to have been seen after it. */
const revisedOn = "2026-11-22";

const model = (id: string) => catalogue.find((entry) => entry.id === id);

/** Runs a check on every model and returns the ids of those that fail it. */
function breaking(check: (entry: CatalogueModel) => boolean) {
  return catalogue.filter((entry) => !check(entry)).map((entry) => entry.id);
}

function pricesOf(entry: CatalogueModel): TokenPrice[] {
  return entry.longContext ? [entry.price, entry.longContext.price] : [entry.price];
}

test("an id names one model only", () => {
  const ids = catalogue.map((entry) => entry.id);
  expect(ids.length).toBe(new Set(ids).size);
});

test("one provider's model is not listed twice under different ids", () => {
  const upstream = catalogue.map((entry) => `${entry.provider} ${entry.upstreamId}`);
  expect(upstream.length).toBe(new Set(upstream).size);
});

test("every price is positive, except for the output of embeddings", () => {
  const positive = (entry: CatalogueModel) =>
    pricesOf(entry).every(
      ({ input, cachedInput, output }) =>
        input > 0n && (cachedInput === undefined || cachedInput > 0n) && (entry.kind === "embedding" ? output === 0n : output > 0n),
    );
  expect(breaking(positive)).toEqual([]);
});

test("cached input never costs more than fresh input, and output never less than input", () => {
  const ordered = (entry: CatalogueModel) =>
    pricesOf(entry).every(({ input, cachedInput = 0n, output }) => cachedInput <= input && (entry.kind === "embedding" || output >= input));
  expect(breaking(ordered)).toEqual([]);
});

test("a long prompt is never cheaper per token, and fits the model's context", () => {
  const dearer = ({ price, longContext, contextLength }: CatalogueModel) =>
    !longContext ||
    (longContext.aboveInputTokens > 0 &&
      longContext.aboveInputTokens < contextLength &&
      longContext.price.input >= price.input &&
      longContext.price.output >= price.output &&
      (longContext.price.cachedInput === undefined) === (price.cachedInput === undefined) &&
      (longContext.price.cachedInput ?? 0n) >= (price.cachedInput ?? 0n));
  expect(breaking(dearer)).toEqual([]);
});

test("limits are whole numbers, and the longest answer fits the context", () => {
  const fits = ({ kind, contextLength, maxOutputTokens }: CatalogueModel) =>
    Number.isSafeInteger(contextLength) &&
    Number.isSafeInteger(maxOutputTokens) &&
    contextLength > 0 &&
    maxOutputTokens <= contextLength &&
    (kind === "embedding" ? maxOutputTokens === 0 : maxOutputTokens > 0);
  expect(breaking(fits)).toEqual([]);
});

test("the bound on an image is a positive number of tokens, and one image fits the context", () => {
  const bounded = ({ maxTokensPerImage, contextLength }: CatalogueModel) =>
    maxTokensPerImage === undefined ||
    (Number.isSafeInteger(maxTokensPerImage) && maxTokensPerImage > 0 && maxTokensPerImage < contextLength);
  expect(breaking(bounded)).toEqual([]);
});

test("gpt-4o-mini costs exactly $0.15 in, $0.075 cached and $0.60 out per million tokens", () => {
  expect(model("gpt-4o-mini")?.price).toEqual({ input: 150_000n, cachedInput: 75_000n, output: 600_000n });
});

test("a gpt-4o-mini image is bounded by eight tiles at that model's own, much larger tile", () => {
  expect(model("gpt-4o-mini")?.maxTokensPerImage).toBe(2_833 + 8 * 5_667);
});

test("Gemini 3.1 Pro charges the whole request at the higher price above 200,000 prompt tokens", () => {
  expect(model("gemini-3.1-pro-preview")?.longContext).toEqual({
    aboveInputTokens: 200_000,
    price: { input: 4_000_000n, cachedInput: 400_000n, output: 18_000_000n },
  });
});

test("every price has an https page and a real day on which it was seen, not in the future", () => {
  const sourced = ({ source }: CatalogueModel) =>
    new URL(source.url).protocol === "https:" &&
    /^\d{4}-\d{2}-\d{2}$/.test(source.checkedOn) &&
    new Date(`${source.checkedOn}T00:00:00Z`).toISOString().startsWith(source.checkedOn) &&
    source.checkedOn <= revisedOn;
  expect(breaking(sourced)).toEqual([]);
});

test("a model with a prefix is requested by the provider's own name for it", () => {
  const named = ({ id, provider, upstreamId }: CatalogueModel) =>
    id === (provider === "groq" || provider === "openrouter" ? `${provider}/${upstreamId}` : upstreamId);
  expect(breaking(named)).toEqual([]);
});

test("the catalogue has no models of servers run by the operator", () => {
  expect(breaking(({ provider }) => provider !== "ollama" && provider !== "vllm")).toEqual([]);
});

test.each([
  ["0.15", 150_000n],
  ["0.60", 600_000n],
  ["10.00", 10_000_000n],
  ["3", 3_000_000n],
  ["0", 0n],
  ["0.0375", 37_500n],
  ["0.000001", 1n],
  // In floating point, these two times a million are not whole numbers.
  ["1.001", 1_001_000n],
  ["8.2", 8_200_000n],
  ["999999999.999999", 999_999_999_999_999n],
])("usd(%j) is exactly %s credits", (dollars, credits) => {
  expect(usd(dollars)).toBe(credits);
});

test.each(["", " ", ".5", "5.", "-1", "+1", "$1", "1,000", "1e3", "0x10", "1.0000001", "1 ", "1\n", "NaN", "Infinity", "1.2.3", "٣"])(
  "usd(%j) is refused",
  (garbage) => {
    expect(() => usd(garbage)).toThrow("Not a dollar price");
  },
);

test("Anthropic's prompt cache costs a tenth to read, 1.25 times the input to write, and twice for an hour, in both price lists", () => {
  const fits = (entry: CatalogueModel) =>
    entry.provider !== "anthropic" ||
    pricesOf(entry).every(
      ({ input, cachedInput = 0n, cacheWriteInput = 0n, longCacheWriteInput }) =>
        cachedInput * 10n === input && cacheWriteInput * 4n === input * 5n && longCacheWriteInput === input * 2n,
    );
  expect(breaking(fits)).toEqual([]);
});
