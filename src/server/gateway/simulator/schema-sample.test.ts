import { describe, expect, test } from "vitest";
import { sampleForSchema, UnusableSchemaError } from "./schema-sample.ts";

/** Samples for 40 seeds, because one seed may give a valid value by chance. */
function samples(schema: unknown): unknown[] {
  return Array.from({ length: 40 }, (_, seed) => sampleForSchema(schema, { seed: seed * 7919, topic: "tea" }));
}

describe("plain values", () => {
  test.each<[string, unknown, (value: unknown) => boolean]>([
    ["string", { type: "string" }, (value) => typeof value === "string"],
    ["boolean", { type: "boolean" }, (value) => typeof value === "boolean"],
    ["null", { type: "null" }, (value) => value === null],
    ["one of several types", { type: ["null", "integer"] }, (value) => value === null || Number.isInteger(value)],
    ["enum", { type: "string", enum: ["a", "b"] }, (value) => value === "a" || value === "b"],
    ["const", { const: { a: [1] } }, (value) => JSON.stringify(value) === '{"a":[1]}'],
    [
      "integer bounds",
      { type: "integer", minimum: 17, maximum: 19 },
      (value) => Number.isInteger(value) && Number(value) >= 17 && Number(value) <= 19,
    ],
    ["negative bounds", { type: "integer", maximum: -5 }, (value) => Number.isInteger(value) && Number(value) <= -5],
    ["exclusive bounds", { type: "number", exclusiveMinimum: 0, exclusiveMaximum: 1 }, (value) => Number(value) > 0 && Number(value) < 1],
    ["exclusive integer bounds", { type: "integer", exclusiveMinimum: 3, exclusiveMaximum: 5 }, (value) => value === 4],
    ["multipleOf", { type: "integer", multipleOf: 7, minimum: 50 }, (value) => Number(value) % 7 === 0 && Number(value) >= 50],
    [
      "decimal multipleOf",
      { type: "number", multipleOf: 0.1, maximum: 3 },
      (value) => Math.abs(Number(value) * 10 - Math.round(Number(value) * 10)) < 1e-9,
    ],
    ["length", { type: "string", minLength: 20, maxLength: 22 }, (value) => String(value).length >= 20 && String(value).length <= 22],
    ["date", { type: "string", format: "date" }, (value) => new Date(String(value)).toISOString().startsWith(String(value))],
    [
      "date-time",
      { type: "string", format: "date-time" },
      (value) => !Number.isNaN(Date.parse(String(value))) && /T.*Z$/.test(String(value)),
    ],
    ["email", { type: "string", format: "email" }, (value) => /^[^@\s]+@[^@\s]+\.\w+$/.test(String(value))],
    ["uri", { type: "string", format: "uri" }, (value) => URL.canParse(String(value))],
    [
      "uuid",
      { type: "string", format: "uuid" },
      (value) => /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/.test(String(value)),
    ],
    [
      "pattern",
      { type: "string", pattern: "^(?:[A-Z]{2}|x)-\\d{3,5}\\.[a-f0-9]+$" },
      (value) => /^(?:[A-Z]{2}|x)-\d{3,5}\.[a-f0-9]+$/.test(String(value)),
    ],
  ])("a sample satisfies the schema: %s", (_, schema, isValid) => {
    for (const value of samples(schema)) expect(value).toSatisfy(isValid);
  });
});

describe("objects and arrays", () => {
  test("an object has all required properties, and others only if the schema names them", () => {
    const schema = {
      type: "object",
      properties: {
        a: { type: "integer" },
        b: { type: "object", properties: { c: { type: "boolean" } }, required: ["c"] },
      },
      required: ["b", "free"],
    };
    for (const value of samples(schema)) {
      expect(value).toMatchObject({ b: { c: expect.any(Boolean) }, free: expect.anything() });
      expect(Object.keys(value as object).sort()).toEqual(["a", "b", "free"]);
    }
  });

  test("arrays have as many items as the schema asks for, and different ones with uniqueItems", () => {
    for (const value of samples({
      type: "array",
      items: { type: "string" },
      minItems: 5,
      maxItems: 6,
      uniqueItems: true,
    })) {
      expect(new Set(value as string[]).size).toBeGreaterThanOrEqual(5);
    }
    for (const value of samples({ type: "array", items: { enum: ["a", "b", "c"] }, minItems: 3, uniqueItems: true })) {
      expect(new Set(value as string[]).size).toBe(3);
    }
    for (const value of samples({ type: "array", items: { type: "string" }, maxItems: 0 })) expect(value).toEqual([]);
  });

  test("allOf merges its parts, of which one may be a reference", () => {
    const schema = {
      allOf: [{ $ref: "#/definitions/base" }, { properties: { b: { const: 2 } }, required: ["b"] }],
      definitions: { base: { type: "object", properties: { a: { const: 1 } }, required: ["a"] } },
    };
    for (const value of samples(schema)) expect(value).toEqual({ a: 1, b: 2 });
  });

  test("anyOf skips a branch that no value fits", () => {
    for (const value of samples({ anyOf: [{ type: "string", minLength: 5, maxLength: 3 }, { type: "integer" }] })) {
      expect(value).toSatisfy(Number.isInteger);
    }
  });

  test("samples of recursive schemas are finite", () => {
    const tree = {
      type: "object",
      properties: { value: { type: "integer" }, children: { type: "array", items: { $ref: "#" } } },
      required: ["value", "children"],
    };
    const list = {
      type: "object",
      properties: { next: { anyOf: [{ $ref: "#" }, { type: "null" }] } },
      required: ["next"],
      additionalProperties: false,
    };
    for (const schema of [tree, list]) expect(JSON.stringify(samples(schema)[0]).length).toBeLessThan(5000);
  });

  test("a property named __proto__ stays a property", () => {
    const schema = JSON.parse('{"type":"object","properties":{"__proto__":{"type":"integer"}},"required":["__proto__"]}');
    expect(JSON.stringify(samples(schema)[0])).toMatch(/^\{"__proto__":\d+\}$/);
  });
});

const doubling = Object.fromEntries(
  Array.from({ length: 40 }, (_, i) => [
    `d${i}`,
    {
      type: "object",
      properties: { a: { $ref: `#/$defs/d${i + 1}` }, b: { $ref: `#/$defs/d${i + 1}` } },
      required: ["a", "b"],
    },
  ]),
);

test.each<[string, unknown]>([
  ["leads nowhere", { $ref: "#/$defs/none" }],
  ["leads outside", { $ref: "https://example.com/schema" }],
  ["only leads to itself", { $ref: "#" }],
  ["only leads to itself in allOf", { allOf: [{ $ref: "#" }] }],
  ["requires itself", { type: "object", properties: { a: { $ref: "#" } }, required: ["a"] }],
  ["allows nothing", { type: "object", properties: { a: false }, required: ["a"] }],
  ["asks for a billion items", { type: "array", minItems: 1_000_000_000, items: { type: "string" } }],
  ["asks for a billion letters", { type: "string", minLength: 1_000_000_000 }],
  ["doubles forty times", { $ref: "#/$defs/d0", $defs: doubling }],
  ["has bounds that cross", { type: "integer", minimum: 5, maximum: 4 }],
])("a schema that %s is refused", (_, schema) => {
  expect(() => sampleForSchema(schema, { seed: 1, topic: "tea" })).toThrow(UnusableSchemaError);
});
