import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { dialectCases, readWith, refusalOf } from "#testing/dialects.ts";
import { AppError } from "../../platform/errors.ts";

/** The guarantees for reading requests of all dialects. Those of one dialect are in its own test file. */
describe.each(dialectCases)("reading a request of $name", (api) => {
  const { dialect, least, conversation, limit } = api;
  const readText = (text: string) => dialect.read(text, () => null);
  const read = (rest: object = {}) => readWith(api, rest);
  const leastText = JSON.stringify(least);

  test.each([
    ["not JSON", "{", null],
    ["an empty body", "", null],
    ["a list", "[]", null],
    ["null", "null", null],
    ["a text", '"x"', null],
    ["no model", JSON.stringify({ ...least, model: undefined }), "model"],
    ["a number for a model", JSON.stringify({ ...least, model: 4 }), "model"],
    ["an embedding model", JSON.stringify({ ...least, model: "text-embedding-3-small" }), "model"],
    ["no conversation", JSON.stringify({ ...least, [conversation]: undefined }), conversation],
    ["a model twice", `{"model":"gpt-4o",${leastText.slice(1)}`, "model"],
    [
      "a limit twice, one of them spelled with an escape",
      `{${JSON.stringify(limit)}:1,"${limit.replace("_", "\\u005f")}":100,${leastText.slice(1)}`,
      limit,
    ],
    ["nesting without end", `{"model":"gpt-4o-mini",${JSON.stringify(conversation)}:${"[".repeat(100_000)}`, null],
    ["nesting in an unknown field", `{"x":${"[".repeat(300)}${"]".repeat(300)},${leastText.slice(1)}`, null],
    ["members without end", `{"metadata":{${Array.from({ length: 60_000 }, (_, at) => `"k${at}":1`).join(",")}}}`, null],
    ["fields without end", `{${Array.from({ length: 1_001 }, (_, at) => `"k${at}":1`).join(",")}}`, null],
    ["a field with a name that grows when it is normalised", `{"${"\ufdfa".repeat(300)}":1}`, null],
  ])("%s is refused, and the refusal names the member", (_name, text, param) => {
    const { code, param: named } = refusalOf(() => readText(text));
    expect([code, named]).toEqual(["bad_request", param]);
  });

  test.each([
    [conversation, []],
    ["stream", "true"],
    ["stream", 1],
    [limit, -1],
    [limit, 1.5],
    [limit, "10"],
    [limit, 1e300],
    ["tools", {}],
    ["tools", [null]],
    ["tools", [{ type: "web_search" }]],
    ["service_tier", "priority"],
    ["service_tier", "scale"],
    ["service_tier", 1],
  ])("%s: %j is refused, and the refusal names it", (field, value) => {
    const { code, param } = refusalOf(() => read({ [field]: value }));
    expect([code, param]).toEqual(["bad_request", field]);
  });

  test("a name that resembles a member with a price is refused", () => {
    const camel = limit.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
    for (const name of [camel, limit.toUpperCase(), "MODEL", "serviceTier", "Stream"])
      expect(refusalOf(() => read({ [name]: 1 })).param).toBe(name);
  });

  test("null means the same as an absent member", () => {
    expect(read({ stream: null, tools: null, service_tier: null })).toMatchObject({ stream: false, choices: 1 });
  });

  test("the output limit is the request's, at most the model's", () => {
    expect(read({ [limit]: 50 })).toMatchObject({ askedOutput: 50, outputLimitFields: [limit] });
    const { askedOutput, model } = read({ [limit]: 1_000_000 });
    expect(askedOutput).toBe(model.maxOutputTokens);
  });

  test("an unknown model gets a 404 that names the field and at most 100 characters of the model", () => {
    const refusal = refusalOf(() => read({ model: "x".repeat(5_000) }));
    expect([refusal.code, refusal.status, refusal.param]).toEqual(["model_not_found", 404, "model"]);
    expect(refusal.message.length).toBeLessThan(200);
    for (const model of ["__proto__", "constructor", "toString"]) expect(refusalOf(() => read({ model })).code).toBe("model_not_found");
  });

  test("any body is read or refused with an AppError", () => {
    const part = fc.record({
      type: fc.constantFrom("text", "input_text", "image", "input_image", "document", "input_file", "tool_result", "x"),
      source: fc.jsonValue(),
      content: fc.jsonValue(),
      text: fc.jsonValue(),
      image_url: fc.jsonValue(),
    });
    const content = fc.oneof(fc.jsonValue(), fc.array(part));
    const item = fc.record({
      type: fc.constantFrom("message", "function_call_output", "reasoning", "x", undefined),
      role: fc.constantFrom("user", undefined),
      content,
      output: content,
    });
    const field = fc.constantFrom(
      ...["model", conversation, limit, "system", "instructions", "stream", "n", "tools", "thinking", "reasoning", "store", "text"],
      ...["cache_control", "service_tier", "stream_options", "prompt_cache_options", "modalities", "prediction"],
    );
    const any = fc.oneof(fc.jsonValue(), fc.dictionary(field, fc.jsonValue()));
    fc.assert(
      fc.property(any, fc.oneof(fc.jsonValue(), fc.array(item, { maxLength: 3 })), (value, said) => {
        for (const body of [value, { ...least, ...(typeof value === "object" ? value : {}) }, { ...least, [conversation]: said }]) {
          try {
            readText(JSON.stringify(body));
          } catch (error) {
            expect(error).toBeInstanceOf(AppError);
          }
        }
      }),
    );
  });
});
