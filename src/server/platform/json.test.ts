import fc from "fast-check";
import { expect, test } from "vitest";
import { AppError } from "./errors.ts";
import { endOfString, excessOf, type JsonBounds, LARGE_JSON, parseJson, SMALL_JSON } from "./json.ts";

const bounds: JsonBounds = { depth: 3, containers: 4, members: 3, values: 9 };

test.each([
  ["[[[1]]]", null],
  ["[[[[1]]]]", "is nested deeper than 3 levels"],
  ['{"a":{"b":{"c":1}}}', null],
  ['{"a":[{"b":{"c":1}}]}', "is nested deeper than 3 levels"],
  ["[[],[],[]]", null],
  ["[[],[],[],[]]", "has more than 4 objects and lists"],
  ['{"a":1,"b":2,"c":3}', null],
  ['{"a":1,"b":2,"c":3,"d":4}', "has more than 3 members"],
  ["[1,2,3,4,5,6,7,8,9]", null],
  ["[1,2,3,4,5,6,7,8,9,10]", "has more than 9 values"],
  // Brackets, commas and colons within a string are no structure.
  ['["[[[[[[,,,,,,::::{{{{"]', null],
  ['["\\"[[[[[[", "\\\\", "[[[[["]', null],
  ['{"a\\\\\\":[[[[":1}', null],
  ["", null],
  ['"', null],
  ['["an end that never comes', null],
])("the bounds are exact for %s", (text, excess) => {
  expect(excessOf(text, bounds)).toBe(excess);
});

test("a text within the bounds is parsed as by JSON.parse, and a text that is no JSON is refused", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.jsonValue().map((value) => JSON.stringify(value)),
        fc.string(),
      ),
      (text) => {
        let expected: unknown;
        try {
          expected = JSON.parse(text);
        } catch {
          expect(() => parseJson(text, LARGE_JSON)).toThrow(AppError);
          return;
        }
        expect(parseJson(text, LARGE_JSON)).toEqual(expected);
      },
    ),
  );
});

test("the counts of the scan are those of the parsed value", () => {
  const size = (value: unknown): { members: number; containers: number; depth: number } => {
    if (typeof value !== "object" || value === null) return { members: 0, containers: 0, depth: 0 };
    const inner = Object.values(value).map(size);
    return {
      members: inner.reduce((all, { members }) => all + members, Array.isArray(value) ? 0 : Object.keys(value).length),
      containers: inner.reduce((all, { containers }) => all + containers, 1),
      depth: 1 + Math.max(0, ...inner.map(({ depth }) => depth)),
    };
  };
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 5 }), (value) => {
      const text = JSON.stringify(value, null, 1);
      const exact = { ...size(value), values: 1_000_000 };
      expect(excessOf(text, exact)).toBe(null);
      for (const bound of ["members", "containers", "depth"] as const)
        if (exact[bound] > 0) expect(excessOf(text, { ...exact, [bound]: exact[bound] - 1 })).not.toBe(null);
    }),
  );
});

test("the largest requests that OpenAI accepts are within the bounds", () => {
  // 300,000 tokens, in 2,048 inputs, OpenAI's maximum.
  const tokens = Array.from({ length: 2_048 }, () => Array.from({ length: 146 }, (_, at) => 100_000 + at));
  expect(excessOf(JSON.stringify({ model: "m", input: tokens }), LARGE_JSON)).toBe(null);
  const schema = Object.fromEntries(
    Array.from({ length: 20 }, (_, at) => [`p${at}`, { type: "object", properties: { a: { type: "string", description: "a" } } }]),
  );
  const tools = Array.from({ length: 128 }, (_, at) => ({
    type: "function",
    function: { name: `f${at}`, parameters: { properties: schema } },
  }));
  const messages = Array.from({ length: 5_000 }, () => ({ role: "user", content: [{ type: "text", text: "hi" }] }));
  expect(excessOf(JSON.stringify({ model: "m", tools, messages }), LARGE_JSON)).toBe(null);
  expect(excessOf(JSON.stringify({ url: "https://example.com", events: ["usage.completed", "balance.low"] }), SMALL_JSON)).toBe(null);
});

test("a string ends at the first quote that is not escaped", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.string(), (content, rest) => {
      const text = JSON.stringify(content);
      expect(endOfString(`${text}${rest}`, 0)).toBe(text.length);
    }),
  );
  expect(endOfString('"never\\"', 0)).toBe(0);
});
