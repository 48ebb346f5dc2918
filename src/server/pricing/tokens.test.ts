import fc from "fast-check";
import { encode } from "gpt-tokenizer/encoding/o200k_base";
import { describe, expect, test } from "vitest";
import { countPromptTokens, countTextTokens, decodeTokens, encodeText, tokenBytes } from "./tokens.ts";

const plainText = { allowedSpecial: new Set<string>(), disallowedSpecial: new Set<string>() };

describe("text", () => {
  test("known texts have the counts of OpenAI's tokenizer", async () => {
    expect(await encodeText("hello world")).toEqual([24912, 2375]);
    expect(await countTextTokens("")).toBe(0);
    expect(await countTextTokens("Hello, world!")).toBe(4);
  });

  test("control tokens are counted as plain text", async () => {
    const text = "<|endoftext|> and <|im_start|>system<|im_end|><|endofprompt|>";
    const tokens = await encodeText(text);
    expect(tokens.length).toBeGreaterThan(20);
    expect(Math.max(...tokens)).toBeLessThan(199_999);
    expect(await decodeTokens(tokens)).toBe(text);
  });

  test("slicing a long text does not change its count", async () => {
    const word = fc.constantFrom(
      "don't",
      "WE'RE",
      " ",
      "\n",
      "  \n",
      "\t",
      "漢字",
      "漢A",
      "Ab",
      "ABC",
      "'",
      "12345",
      "...",
      "!\n/",
      "é",
      "e\u0301",
      "😀",
      "://x",
      "ß",
      "_",
      "the ",
    );
    const text = fc.array(word, { minLength: 300, maxLength: 700 }).map((words) => words.join(""));
    await fc.assert(
      fc.asyncProperty(text, async (long) => {
        // Excludes runs that are longer than a word may be without being cut.
        fc.pre(!/[^\p{L}\p{N}]{100}|\p{L}{100}/u.test(long));
        expect(await encodeText(long)).toEqual(encode(long, plainText));
      }),
      { numRuns: 200 },
    );
  });

  test("decoding returns every well-formed text", async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: "binary", maxLength: 1500 }), async (text) => {
        expect(await decodeTokens(await encodeText(text))).toBe(text);
      }),
      { numRuns: 60 },
    );
  });

  test("decoding a part of a character does not change the next decoding", async () => {
    const [first = 0] = await encodeText("🦄");
    expect(await decodeTokens([first])).toContain("\ufffd");
    expect(await decodeTokens(await encodeText("fine"))).toBe("fine");
  });

  test("ill-formed UTF-16 is counted without an error", async () => {
    for (const text of ["\ud800", "x\udc00y", "\ud83d".repeat(2000), "\ufeffabc", "\u0000"]) {
      expect(await countTextTokens(text)).toBeGreaterThan(0);
    }
  });

  test.each(["a", "A", " ", "漢", "😀", "!", "\u0301", "\n", "aA", "<|endoftext|>"])(
    "a megabyte of %j is counted in reasonable time",
    async (unit) => {
      const text = unit.repeat(Math.floor(1_000_000 / Buffer.byteLength(unit)));
      expect(await countTextTokens(text)).toBeGreaterThan(1000);
    },
    10_000,
  );

  test("a number that is no token is refused", async () => {
    await expect(tokenBytes([5_000_000])).rejects.toThrow(RangeError);
  });
});

describe("prompts", () => {
  test("a message counts its role, its content and 3, and the reply 3 more", async () => {
    expect(await countPromptTokens({ messages: [{ role: "user", content: "hello world" }] })).toBe(3 + 3 + 1 + 2);
  });

  test("a name counts its tokens and 1", async () => {
    const bare = await countPromptTokens({ messages: [{ role: "user", content: "hi" }] });
    const named = await countPromptTokens({ messages: [{ role: "user", content: "hi", name: "hello" }] });
    expect(named - bare).toBe(2);
  });

  test("an image counts 85, with an address of any length", async () => {
    const image = { type: "image_url", image_url: { url: `data:image/png;base64,${"A".repeat(100_000)}` } };
    const parts = [{ type: "text", text: "hello world" }, image];
    expect(await countPromptTokens({ messages: [{ role: "user", content: parts }] })).toBe(3 + 3 + 1 + 2 + 85);
  });

  test("tools and a JSON schema count as their JSON text", async () => {
    const messages = [{ role: "user", content: "hi" }];
    const tools = [{ type: "function", function: { name: "get_weather" } }];
    const json_schema = { name: "answer", schema: { type: "object" } };
    const bare = await countPromptTokens({ messages });
    expect((await countPromptTokens({ messages, tools })) - bare).toBe(await countTextTokens(JSON.stringify(tools)));
    const shaped = await countPromptTokens({ messages, response_format: { type: "json_schema", json_schema } });
    expect(shaped - bare).toBe(await countTextTokens(JSON.stringify(json_schema)));
  });

  test("any JSON value in any place is counted without an error", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.jsonValue()), fc.jsonValue(), fc.jsonValue(), async (messages, tools, response_format) => {
        expect(await countPromptTokens({ messages, tools, response_format })).toBeGreaterThanOrEqual(3);
      }),
      { numRuns: 60 },
    );
  });

  test("tools nested deeper than the stack are counted", async () => {
    const tools: unknown = JSON.parse("[".repeat(50_000) + "]".repeat(50_000));
    expect(await countPromptTokens({ messages: [], tools })).toBeGreaterThanOrEqual(3);
  });
});

test("a call in a prompt costs the name and what is handed to it", async () => {
  const custom = { id: "call_1", type: "custom", custom: { name: "hello", input: "hello world" } };
  expect(await countPromptTokens({ messages: [{ role: "assistant", content: null, tool_calls: [custom] }] })).toBe(3 + 3 + 1 + 1 + 2);
});
