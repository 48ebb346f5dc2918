import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { digest, type Recorded } from "../../../tokens/recorded.ts";
import { samples } from "../../../tokens/samples.ts";
import { closerBound, MARGINS, mostTokens, tokenizerOf } from "./bound.ts";
import { loadTokenizer } from "./bpe.ts";
import { TokenCounter } from "./counter.ts";
import { boundTextTokens, countTextTokens } from "./tokens.ts";

const recorded = JSON.parse(readFileSync(new URL("../../../tokens/counts.json", import.meta.url), "utf8")) as Recorded;
const counted = Object.entries(samples).map(([name, text]) => ({ name, text, counts: recorded.samples[name]?.counts ?? {} }));

/** SentencePiece puts a blank before a text, which may be a token more. */
const PREFIX = 1;

describe("the counts of `npm run tokens`", () => {
  test("are of the current samples, with every tokenizer", () => {
    expect(Object.keys(recorded.samples)).toEqual(Object.keys(samples));
    for (const { name, text, counts } of counted) {
      expect([name, recorded.samples[name]?.digest]).toEqual([name, digest(text)]);
      expect(Object.keys(counts)).toHaveLength(12);
    }
  });

  test("are never above the bound by bytes", () => {
    for (const { name, text, counts } of counted) {
      for (const [tokenizer, count] of Object.entries(counts)) {
        expect(count, `${name}, ${tokenizer}`).toBeLessThanOrEqual(mostTokens(text) + PREFIX);
      }
    }
  });

  test.each(["as they are", "as JSON"])("are never above the closer bound of the samples %s", async (form) => {
    for (const { name, text, counts } of counted) {
      const bound = await boundTextTokens([form === "as JSON" ? JSON.stringify(text) : text], "other");
      for (const [tokenizer, count] of Object.entries(counts)) {
        expect(count, `${name}, ${tokenizer}`).toBeLessThanOrEqual(bound + PREFIX);
      }
    }
  });
});

test("the bound of English, code and JSON is at most 2.1 times the tokens of o200k_base", async () => {
  for (const name of ["English prose", "TypeScript", "Python", "JSON, compact", "SQL", "HTML"]) {
    const text = samples[name] as string;
    expect(await boundTextTokens([text], "other"), name).toBeLessThanOrEqual(2.1 * (await countTextTokens(text)));
  }
});

test("for Claude's newer tokenizers, the bound of English is at least 2.25 tokens a word", async () => {
  const text = "The quick brown fox jumps over the lazy dog every morning at sunrise";
  expect(await countTextTokens(text)).toBe(13);
  // Opus 4.7 makes 25 tokens of it, by published counts.
  expect(await boundTextTokens([text], "claude")).toBeGreaterThanOrEqual(29);
});

test("only OpenAI's own chat models are taken to have o200k_base", () => {
  const model = { provider: "openai", upstreamId: "gpt-4o", kind: "chat", custom: false } as const;
  expect(tokenizerOf(model)).toBe("o200k");
  expect(tokenizerOf({ ...model, custom: true })).toBe("other");
  expect(tokenizerOf({ ...model, kind: "embedding" })).toBe("other");
  expect(tokenizerOf({ ...model, provider: "google" })).toBe("other");
  expect(tokenizerOf({ ...model, provider: "anthropic", upstreamId: "claude-haiku-4-5" })).toBe("claude");
  expect(tokenizerOf({ ...model, provider: "openrouter", upstreamId: "anthropic/claude-opus-5" })).toBe("claude");
});

describe("bytes", () => {
  test("bound every character in NFKC form too, also when it is written as an escape", () => {
    const wrong: string[] = [];
    for (let code = 1; code < 0x110000; code++) {
      if (code >= 0xd800 && code <= 0xdfff) continue;
      const character = String.fromCodePoint(code);
      const normal = Buffer.byteLength(character.normalize("NFKC"));
      if (mostTokens(character) < normal) wrong.push(character);
      if (code >= 0x80 && code < 0x10000 && mostTokens(`\\u${code.toString(16).padStart(4, "0")}`) < normal) wrong.push(`\\u${character}`);
    }
    expect(wrong).toEqual([]);
  });

  test("are the bound of text that NFKC does not change", () => {
    for (const text of ["", "plain", "清晨的集市", "ქართული", "é", "🙂", "C:\\\\users"])
      expect(mostTokens(text)).toBe(Buffer.byteLength(text));
  });
});

describe("the closer bound", () => {
  test("counts each digit, each byte beyond ASCII, and each character of a run", async () => {
    expect(await boundTextTokens(["0123456789"], "other")).toBe(10);
    expect(await boundTextTokens(["ქართული"], "other")).toBe(21);
    expect(await boundTextTokens(["========"], "other")).toBe(8);
    expect(await boundTextTokens(["ababababab"], "other")).toBe(10);
    expect(await boundTextTokens(["\n\n\t\\"], "other")).toBe(4);
    expect(await boundTextTokens([" ".repeat(100)], "other")).toBe(25);
    expect(await boundTextTokens([""], "other")).toBe(0);
  });

  test("is the same in the worker thread and on the main thread, and for a text in many pieces", async () => {
    const text = Object.values(samples).join("\n").repeat(2);
    const alone = new TokenCounter({
      startWorker: () => {
        throw new Error("no threads");
      },
    });
    const tokenizer = await loadTokenizer();
    let whole = 0;
    for (const part of closerBound(tokenizer, text, MARGINS.other)) whole += part;
    const [threaded, unthreaded] = await Promise.all([boundTextTokens([text], "other"), alone.bound([text], MARGINS.other)]);
    expect(unthreaded).toBe(threaded);
    expect(Math.abs(threaded - whole)).toBeLessThan(100);
  });

  test("of OpenAI's tokenizer is its count and 5 %", async () => {
    const text = samples["English prose"] as string;
    expect(await boundTextTokens([text], "o200k")).toBe(Math.ceil((await countTextTokens(text)) * 1.05));
  });
});
