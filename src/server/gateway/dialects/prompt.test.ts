import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { dialectCases, readWith } from "#testing/dialects.ts";
import { countTextTokens } from "../../pricing/tokens.ts";
import { chatCompletions } from "./chat-completions.ts";
import { embeddings } from "./embeddings.ts";
import { couldNotCount } from "./prompt.ts";

/** What holds for the size of a prompt in every dialect. */
describe.each(dialectCases)("the prompt of $name", (api) => {
  const { dialect, says, image, imageInResult, imageBound, document } = api;
  const read = (rest: object = {}) => readWith(api, rest);

  test("is bounded above what the tokenizer counts of all its text, and the closer bound lies between", async () => {
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

  test("is counted once for each purpose", () => {
    const request = read(says("漢字".repeat(1_000)));
    expect(dialect.countPrompt(request, "app")).toBe(dialect.countPrompt(request, "app"));
    expect(dialect.closerPromptBound(request, "app")).toBe(dialect.closerPromptBound(request, "app"));
  });

  test("counts an image by its own bound, not by its data, wherever it stands; only the provider counts its tokens", async () => {
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

  test("counts text that looks like the data of an image as text, also beside that image", async () => {
    const data = randomBytes(6_000).toString("base64");
    // In two of the APIs the data of an image is the whole address.
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

  test("with a document may fill the model's whole context, and only the provider counts it", () => {
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
  test("is not looked for in more than half a mebibyte, and is given up when the tokenizer is taken up", async () => {
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
  "%s has a closer bound of at least one token for each digit and each byte of Georgian, and so in its bound by bytes what NFKC adds",
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
