import fc from "fast-check";
import { expect, test } from "vitest";
import { readProviderError } from "./provider-error.ts";

test.each([
  ["OpenAI", { error: { message: "bad", param: "tools", code: "x", type: "t" } }, ["bad", "tools", "x"]],
  ["Google, in a list", [{ error: { code: 400, message: "bad", status: "INVALID_ARGUMENT" } }], ["bad", null, "INVALID_ARGUMENT"]],
  ["Anthropic", { type: "error", error: { type: "invalid_request_error", message: "bad" } }, ["bad", null, null]],
  ["Ollama, a text", { error: "bad" }, ["bad", null, null]],
  ["xAI, a text beside its code", { code: "invalid-argument", error: "bad" }, ["bad", null, "invalid-argument"]],
  ["vLLM, without an envelope", { object: "error", message: "bad", param: null, code: 400 }, ["bad", null, null]],
  ["FastAPI, a text", { detail: "bad" }, ["bad", null, null]],
  [
    "FastAPI, a list",
    {
      detail: [
        { loc: ["body", "messages", 0, "role"], msg: "wrong", type: "x" },
        { loc: ["body"], msg: "too long" },
      ],
    },
    ["messages.0.role: wrong; too long", "messages.0.role", null],
  ],
  [
    "Mistral, a list within its message",
    { object: "error", message: { detail: [{ loc: ["body", "n"], msg: "no" }] }, type: "x", code: null },
    ["n: no", "n", null],
  ],
  [
    "Mistral, the same as a text",
    { object: "error", message: JSON.stringify({ detail: [{ loc: ["body", "n"], msg: "no" }] }), code: "1000" },
    ["n: no", "n", "1000"],
  ],
  [
    "Mistral, a list as its message",
    { object: "Error", message: [{ loc: ["body", "tools"], msg: "no" }], code: 3001 },
    ["tools: no", "tools", null],
  ],
  ["an error in an error", { error: { error: { message: "bad" } } }, ["bad", null, null]],
  ["a text that only looks like JSON", { error: { message: "{not json" } }, ["{not json", null, null]],
  ["a message of 100,000 characters", { error: { message: "x".repeat(100_000) } }, ["x".repeat(4_000), null, null]],
  ["an error without a message", { error: { message: null } }, [null, null, null]],
])("the message of %s is read", (_name, body, expected) => {
  const { message, param, code } = readProviderError(JSON.stringify(body));
  expect([message, param, code]).toEqual(expected);
});

test("any text is read without an exception", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
      const { message } = readProviderError(text);
      expect(message === null || typeof message === "string").toBe(true);
    }),
  );
});

test("a message within thousands of lists or objects is not looked for", () => {
  for (const [open, close] of [
    ["[", "]"],
    ['{"error":', "}"],
  ] as const) {
    const nested = `${open.repeat(50_000)}"bad"${close.repeat(50_000)}`;
    expect(readProviderError(`{"error":{"message":${nested}}}`).message).toBeNull();
  }
});
