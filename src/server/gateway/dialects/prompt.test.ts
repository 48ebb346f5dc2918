import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { dialectCases, readWith } from "#testing/dialects.ts";
import { countTextTokens } from "../../pricing/tokens.ts";
import { chatCompletions } from "./chat-completions.ts";
import { embeddings } from "./embeddings.ts";
import { couldNotCount } from "./prompt.ts";

/** The guarantees for prompts of all dialects. */
describe.each(dialectCases)("the prompt of $name", (api) => {
  const { dialect, says, image, imageInResult, imageBound, document } = api;
  const read = (rest: object = {}) => readWith(api, rest);

  test("has a bound above the tokenizer's count of its text, and a closer bound between the two", async () => {
    const texts = fc.array(fc.oneof(fc.string({ unit: "binary" }), fc.constant("🦊é日本語 ".repeat(20))), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(texts, async (some) => {
        const request = read({ ...says(...some), [api.name === "responses" ? "instructions" : "system"]: some[0] });
        const counted = Math.max(await countTextTokens(some), await dialect.countPrompt(request, "app"));
        const closer = await dialect.closerPromptBound(request, "app");
        expect(request.promptBound).toBeGreaterThanOrEqual(closer);
        expect(closer).toBeGreaterThanOrEqual(Math.min(counted, request.promptBound));
      }),
      { numRuns: 100 },
    );
  });

  test("is counted and bounded once", () => {
    const request = read(says("漢字".repeat(1_000)));
    expect(dialect.countPrompt(request, "app")).toBe(dialect.countPrompt(request, "app"));
    expect(dialect.closerPromptBound(request, "app")).toBe(dialect.closerPromptBound(request, "app"));
  });

  test("has a bound for each image at any place, independent of the image's data; only the provider counts its tokens", async () => {
    const data = "A".repeat(200_000);
    for (const rest of [says("what is it?", image(data)), ...(imageInResult === undefined ? [] : [imageInResult(data)])]) {
      const request = read(rest);
      expect(request.promptBound).toBeGreaterThan(imageBound);
      expect(request.promptBound).toBeLessThan(imageBound + 1_000);
      expect(await dialect.closerPromptBound(request, "app")).toBeLessThanOrEqual(request.promptBound);
      expect(request.onlyProviderCounts).toBe(true);
    }
    expect(read().onlyProviderCounts).toBe(false);
  });

  test("counts text that equals an image's data as text, also beside that image", async () => {
    const data = randomBytes(6_000).toString("base64");
    // In two of the APIs image data is the whole data URL.
    const text = JSON.stringify(image(data)).match(/"(data:[^"]*|[A-Za-z0-9+/=]{1000,})"/)?.[1] as string;
    const tokens = await countTextTokens(text);
    expect(await dialect.closerPromptBound(read(says(text)), "app")).toBeGreaterThan(tokens);
    const counts = async (...parts: (string | object)[]) => {
      const request = read(says(...parts));
      return { bound: await dialect.closerPromptBound(request, "app"), count: await dialect.countPrompt(request, "app") };
    };
    const [alone, beside] = [await counts(image(data)), await counts(text, image(data))];
    expect(alone.count).toBeLessThan(200);
    expect(beside.bound).toBeGreaterThan(alone.bound + tokens);
    expect(beside.count).toBeGreaterThan(alone.count + tokens - 10);
  });

  test("is bounded only by the model's context when it has a document, and only the provider counts it", () => {
    const { promptBound, model, onlyProviderCounts } = read(says(document));
    expect([promptBound, onlyProviderCounts]).toEqual([model.contextLength, true]);
  });
});

describe.each([
  ...dialectCases.map((api) => ({ name: api.name, dialect: api.dialect, read: (text: string) => readWith(api, api.says(text)) })),
  {
    name: "embeddings",
    dialect: embeddings,
    read: (text: string) => embeddings.read(JSON.stringify({ model: "text-embedding-3-small", input: text }), () => null),
  },
])("a closer bound of $name", ({ name, dialect, read }) => {
  test("is not counted for more than 512 KiB, or when the tokenizer is too busy", async () => {
    const [long, short, again] = [read("aA".repeat(300_000)), read("aA".repeat(30_000)), read("aA".repeat(30_000))];
    expect(await dialect.closerPromptBound(long, name)).toBe(long.promptBound);
    expect(couldNotCount(long)).toBe(false);
    const taken = countTextTokens("aA".repeat(8 * 1024 * 1024), { lane: name, purpose: "ask" });
    expect(await dialect.closerPromptBound(short, name)).toBe(short.promptBound);
    expect(couldNotCount(short)).toBe(true);
    await taken;
    expect(await dialect.closerPromptBound(again, name)).toBeLessThan(again.promptBound);
    expect(couldNotCount(again)).toBe(false);
  }, 20_000);
});

test.each(["gemini-3.5-flash-lite", "mistral-small-2603", "claude-haiku-4-5", "groq/openai/gpt-oss-20b", "text-embedding-3-small"])(
  "%s has bounds of at least one token for each digit, each byte of Georgian and each character that NFKC adds",
  async (model) => {
    const digits = "3141592653".repeat(200);
    const georgian = "მთის სოფელში ".repeat(100);
    const armenian = "և".repeat(1_000);
    for (const [text, least] of [
      [digits, 2_000],
      [georgian, Buffer.byteLength(georgian.replaceAll(" ", ""))],
      [armenian, 4_000],
    ] as const) {
      const request =
        model === "text-embedding-3-small"
          ? embeddings.read(JSON.stringify({ model, input: text }), () => null)
          : chatCompletions.read(JSON.stringify({ model, messages: [{ role: "user", content: text }] }), () => null);
      const dialect = model === "text-embedding-3-small" ? embeddings : chatCompletions;
      expect(await dialect.closerPromptBound(request, "scripts")).toBeGreaterThanOrEqual(least);
      expect(request.promptBound).toBeGreaterThanOrEqual(least);
    }
  },
);
