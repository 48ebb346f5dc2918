import fc from "fast-check";
import { expect, test } from "vitest";
import { affordableOutput, baseCost, markupOn, priceOn, worstCase } from "./price.ts";

const mini = { price: { input: 150_000n, cachedInput: 75_000n, output: 600_000n } };
const day = "2026-11-22";
const used = (promptTokens: number, completionTokens: number, cachedTokens = 0, cacheWriteTokens = 0) => ({
  promptTokens,
  completionTokens,
  cachedTokens,
  cacheWriteTokens,
});

test("a request costs tokens times price, rounded up to a whole credit", () => {
  expect(baseCost(mini, used(1_000, 500), day)).toBe(450n);
  expect(baseCost(mini, used(1, 0), day)).toBe(1n);
  expect(baseCost(mini, used(0, 0), day)).toBe(0n);
});

test("cached input costs its own price, or the input price when the model has none", () => {
  expect(baseCost(mini, used(1_000_000, 0, 400_000), day)).toBe(120_000n);
  expect(baseCost({ price: { input: 150_000n, output: 1n } }, used(1_000_000, 0, 400_000), day)).toBe(150_000n);
});

test("input written into a prompt cache costs its own price", () => {
  const model = { price: { input: 100n, cachedInput: 10n, cacheWriteInput: 125n, output: 0n } };
  expect(baseCost(model, used(3_000_000, 0, 1_000_000, 1_000_000), day)).toBe(235n);
});

test("a provider that reports more cached tokens than prompt tokens never makes the cost negative", () => {
  expect(baseCost(mini, used(10, 0, 1_000, 1_000), day)).toBe(1n);
});

test("above the long-context size the whole request costs the long-context price", () => {
  const model = { ...mini, longContext: { aboveInputTokens: 200_000, price: { input: 300_000n, output: 900_000n } } };
  expect(baseCost(model, used(200_000, 0), day)).toBe(30_000n);
  expect(baseCost(model, used(200_001, 0), day)).toBe(60_001n);
});

test("an announced price is charged from its first day on", () => {
  const model = { ...mini, priceChange: { from: "2026-12-01", price: { input: 1n, output: 2n } } };
  expect(priceOn(model, 1, "2026-11-30").output).toBe(600_000n);
  expect(priceOn(model, 1, "2026-12-01").output).toBe(2n);
});

test("a markup of 20 % on 450 credits is 90, and it is rounded up", () => {
  expect(markupOn(450n, 2_000)).toBe(90n);
  expect(markupOn(1n, 1)).toBe(1n);
  expect(markupOn(450n, 0)).toBe(0n);
});

const anyModel = fc.tuple(fc.bigInt(0n, 50_000_000n), fc.bigInt(1n, 200_000_000n)).map(([input, output]) => ({ price: { input, output } }));

test("the output that a total pays for costs at most that total, and one token more would exceed it", () => {
  fc.assert(
    fc.property(anyModel, fc.nat(200_000), fc.bigInt(0n, 10_000_000n), fc.nat(100_000), (model, prompt, total, bps) => {
      const output = affordableOutput(model, prompt, total, bps, day);
      const priceWithMarkup = (tokens: number) => {
        const base = worstCase(model, prompt, tokens, day);
        return base + markupOn(base, bps);
      };
      if (output < 0) return priceWithMarkup(0) > total;
      return priceWithMarkup(output) <= total && priceWithMarkup(output + 1) > total;
    }),
  );
});

test("the worst case costs at least what any use within it costs", () => {
  fc.assert(
    fc.property(
      anyModel,
      fc.nat(100_000),
      fc.nat(10_000),
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.nat(100_000),
      (model, prompt, output, part, bps) => {
        const actual = baseCost(model, used(Math.floor(prompt * part), Math.floor(output * part)), day);
        const worst = worstCase(model, prompt, output, day);
        return actual + markupOn(actual, bps) <= worst + markupOn(worst, bps);
      },
    ),
  );
});

test("input cached for an hour costs its own price, and only requests that may cache for an hour hold it", () => {
  const model = { price: { input: 100n, cachedInput: 10n, cacheWriteInput: 125n, longCacheWriteInput: 200n, output: 0n } };
  const usage = { ...used(4_000_000, 0, 1_000_000, 1_000_000), longCacheWriteTokens: 1_000_000 };
  expect(baseCost(model, usage, day)).toBe(10n + 125n + 200n + 100n);
  expect(baseCost({ price: { input: 100n, output: 0n } }, usage, day)).toBe(400n);
  const held = (["none", "short", "long"] as const).map((writes) => worstCase(model, 1_000_000, 0, day, writes));
  expect(held).toEqual([100n, 125n, 200n]);
  for (const writes of ["none", "short", "long"] as const) {
    const priced = { price: { ...model.price, output: 1_000n } };
    const total = worstCase(priced, 1_000_000, 7_000, day, writes);
    expect(affordableOutput(priced, 1_000_000, total, 0, day, writes)).toBe(7_000);
  }
});

test("a tier costs its listed price, rounded up once, or the standard price when none is listed", () => {
  const usage = { promptTokens: 1_000, cachedTokens: 0, cacheWriteTokens: 0, completionTokens: 100 };
  const model = { price: { input: 250_000n, output: 2_000_000n }, halfInFlex: true, priority: { input: 450_000n, output: 3_600_000n } };
  expect([undefined, "default", "flex", "priority", "x", {}].map((tier) => baseCost(model, usage, "2026-11-29", tier))).toEqual([
    450n,
    450n,
    225n,
    810n,
    450n,
    450n,
  ]);
  expect(baseCost(model, { ...usage, promptTokens: 1, completionTokens: 0 }, "2026-11-29", "flex")).toBe(1n);
  const { price } = model;
  expect(["flex", "priority"].map((tier) => baseCost({ price }, usage, "2026-11-29", tier))).toEqual([450n, 450n]);
  const long = { ...model, longContext: { aboveInputTokens: 500, price: { input: 500_000n, output: 4_000_000n } } };
  expect(["flex", "priority"].map((tier) => baseCost(long, usage, "2026-11-29", tier))).toEqual([450n, 900n]);
});
