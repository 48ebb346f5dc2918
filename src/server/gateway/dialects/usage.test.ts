import { describe, expect, test } from "vitest";
import { messageUsage, responseUsage } from "#testing/upstream-answers.ts";
import type { TokenUsage } from "../../pricing/price.ts";
import { readChatUsage, readMessagesUsage, readResponseUsage, readUsage } from "./usage.ts";

/** Tokens of the prompt, of these read from the cache, written to it, written for an hour; and output. null without a usage. */
function counts(found: TokenUsage | null): number[] | null {
  if (found === null) return null;
  return [found.promptTokens, found.cachedTokens, found.cacheWriteTokens, found.longCacheWriteTokens ?? 0, found.completionTokens];
}

describe.each([
  ["chat completions", readUsage, "prompt_tokens", "completion_tokens"],
  ["responses", readResponseUsage, "input_tokens", "output_tokens"],
  ["messages", readMessagesUsage, "input_tokens", "output_tokens"],
] as const)("the usage of %s", (_name, read, input, output) => {
  test.each([undefined, null, "10", [], {}])("is null for %j", (given) => {
    expect(read(given)).toBeNull();
  });

  test.each([
    { [output]: 5 },
    { [input]: 10 },
    { [input]: -1, [output]: 5 },
    { [input]: 1.5, [output]: 5 },
    { [input]: "10", [output]: 5 },
    { [input]: 2 ** 31, [output]: 5 },
    { [input]: 10, [output]: "5" },
    { [input]: 10, [output]: -5 },
  ])("is null for %j, which lacks the prompt's or the output's count", (given) => {
    expect(read(given)).toBeNull();
  });

  test("has the reported counts, and zero for absent ones", () => {
    expect(counts(read({ [input]: 10, [output]: 5 }))).toEqual([10, 0, 0, 0, 5]);
    expect(counts(read({ [input]: 10, [output]: 0 }))).toEqual([10, 0, 0, 0, 0]);
  });
});

describe("the usage of OpenAI's APIs", () => {
  test.each([
    // Embeddings have no completion_tokens.
    [{ prompt_tokens: 10, total_tokens: 10 }, [10, 0, 0, 0, 0]],
    [{ prompt_tokens: 10, completion_tokens: 5, prompt_tokens_details: null }, [10, 0, 0, 0, 5]],
    [{ prompt_tokens: 10, completion_tokens: 5, prompt_tokens_details: { cached_tokens: 4, cache_write_tokens: 2 } }, [10, 4, 2, 0, 5]],
    [{ prompt_tokens: 10, completion_tokens: 5, prompt_tokens_details: { cached_tokens: "4" } }, [10, 0, 0, 0, 5]],
    // Hidden reasoning is only in the total.
    [{ prompt_tokens: 10, completion_tokens: 5, total_tokens: 115 }, [10, 0, 0, 0, 105]],
    [{ prompt_tokens: 10, completion_tokens: 5, total_tokens: 3 }, [10, 0, 0, 0, 5]],
  ])("of %j is %j", (given, expected) => {
    expect(counts(readUsage(given))).toEqual(expected);
  });

  test("is the same under a response's names", () => {
    expect(counts(readResponseUsage(responseUsage(10, 5, { cached: 4, written: 2 })))).toEqual([10, 4, 2, 0, 5]);
    expect(counts(readResponseUsage({ input_tokens: 10, output_tokens: 5, total_tokens: 115 }))).toEqual([10, 0, 0, 0, 105]);
  });
});

describe("the usage of Anthropic's messages", () => {
  test.each([
    [{ input_tokens: 10, output_tokens: 5 }, [10, 0, 0, 0, 5]],
    [{ input_tokens: 10, output_tokens: 5, cache_read_input_tokens: null, cache_creation: null }, [10, 0, 0, 0, 5]],
    // input_tokens leave out tokens read from and written to the cache.
    [messageUsage(10, 5, { read: 100, written: 20, long: 3 }), [133, 100, 20, 3, 5]],
    // A part that exceeds the whole.
    [{ ...messageUsage(10, 5, { written: 20 }), cache_creation: { ephemeral_1h_input_tokens: 30 } }, [30, 0, 0, 20, 5]],
  ])("of %j is %j", (given, expected) => {
    expect(counts(readMessagesUsage(given))).toEqual(expected);
  });
});

describe("tokens from the prompt cache", () => {
  test.each([
    { prompt_cache_hit_tokens: 900, prompt_cache_miss_tokens: 100 },
    { cached_tokens: 900 },
    { num_cached_tokens: 900 },
    { prompt_tokens_details: { cached_tokens: 900 }, prompt_cache_hit_tokens: 900 },
    { prompt_tokens_details: { cached_tokens: 0 }, cached_tokens: 900 },
  ])("are read from %j, and counted once", (where) => {
    expect(counts(readUsage({ prompt_tokens: 1_000, completion_tokens: 100, ...where }))).toEqual([1_000, 900, 0, 0, 100]);
  });
});

test("the usage of a chat completion is read beside its choices, in a choice, and in x_groq", () => {
  const usage = { prompt_tokens: 10, completion_tokens: 5 };
  const other = { prompt_tokens: 1, completion_tokens: 1 };
  for (const body of [{ usage, choices: [{ usage: other }] }, { usage: null, choices: [null, { usage }] }, { x_groq: { id: "x", usage } }])
    expect(counts(readChatUsage(body))).toEqual([10, 0, 0, 0, 5]);
  for (const body of [{}, { choices: "x" }, { choices: [1, "x", { usage: 5 }] }, { x_groq: null }]) expect(readChatUsage(body)).toBeNull();
});
