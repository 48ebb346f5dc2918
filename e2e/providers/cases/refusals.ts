import { describe, expect, test } from "vitest";
import { type Behaviour, json, refusal } from "../../../src/testing/upstream-answers.ts";
import { anthropic, anthropicError } from "../behaviours/anthropic.ts";
import { deepseek } from "../behaviours/deepseek.ts";
import { google, googleError } from "../behaviours/google.ts";
import { mistral, mistralInvalid } from "../behaviours/mistral.ts";
import { ollama, ollamaError } from "../behaviours/ollama.ts";
import { openai, openaiEmpty } from "../behaviours/openai.ts";
import { vllm, vllmInvalid } from "../behaviours/vllm.ts";
import { xai } from "../behaviours/xai.ts";
import type { Provider } from "../provider.ts";
import { buy, logLines } from "../server.ts";

describe("a refusal in the provider's own envelope", () => {
  const rows: [Provider, Behaviour, number, string, string][] = [
    [google, googleError(400, "Unsupported schema", "INVALID_ARGUMENT"), 400, "Unsupported schema", "INVALID_ARGUMENT"],
    [ollama, ollamaError(400, "json: cannot unmarshal array"), 400, "json: cannot unmarshal array", "bad_request"],
    [vllm, vllmInvalid("messages", "Field required"), 422, "messages: Field required", "bad_request"],
    [
      mistral,
      mistralInvalid("temperature", "Input should be less than 1.5"),
      422,
      "temperature: Input should be less than 1.5",
      "bad_request",
    ],
    [
      anthropic,
      anthropicError(400, "invalid_request_error", "messages: roles must alternate"),
      400,
      "messages: roles must alternate",
      "bad_request",
    ],
    [
      anthropic,
      anthropicError(413, "request_too_large", "Request exceeds the maximum size"),
      413,
      "Request exceeds the maximum size",
      "bad_request",
    ],
  ];
  test.each(rows.map(([provider, behaviour, status, message, code]) => ({ id: provider.id, provider, behaviour, status, message, code })))(
    "of $id reaches the client with its status and its message, $message; it is not retried and costs nothing",
    async ({ provider, behaviour, status, message, code }) => {
      for (const stream of [false, true]) {
        const bought = await buy(provider, behaviour, { stream });
        expect({ status: bought.answer.status, ...bought.answer.json.error }).toMatchObject({ status, message, code });
        expect([bought.credits, bought.outcome, bought.requests.length]).toEqual([0, "failed", 1]);
      }
    },
  );
});

describe("a refusal because of the operator's account", () => {
  const rows: [Provider, Behaviour][] = [
    [openai, openaiEmpty],
    [anthropic, anthropicError(400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API. secret-org")],
    [deepseek, refusal(402, { message: "Insufficient Balance secret-org", type: "unknown_error", code: "invalid_request_error" })],
    [
      google,
      googleError(400, "API key not valid. secret-key", "INVALID_ARGUMENT", [{ reason: "API_KEY_INVALID", domain: "googleapis.com" }]),
    ],
    [google, googleError(400, "User location is not supported for the API use. secret", "FAILED_PRECONDITION")],
    [xai, json({ code: "Client specified an invalid argument", error: "Incorrect API key provided: secret-key" }, { status: 400 })],
  ];
  test.each(rows.map(([provider, behaviour], index) => ({ id: provider.id, index, provider, behaviour })))(
    "by $id is a 502 without the provider's message, and is logged ($index)",
    async ({ provider, behaviour }) => {
      const before = logLines().length;
      const bought = await buy(provider, behaviour);
      expect([bought.answer.status, bought.answer.json.error.code, bought.credits]).toEqual([502, "upstream_error", 0]);
      expect(bought.answer.text).not.toContain("secret");
      const logged = logLines().slice(before);
      expect(logged.map(({ message }) => message)).toContain(
        "a provider refused this server's own account; check its key, and its balance or plan",
      );
      expect(JSON.stringify(logged)).not.toContain("secret");
    },
  );
});

describe("the provider's retry-after headers", () => {
  test.each([
    [429, 429, "rate_limit"],
    [503, 502, "upstream_error"],
    [529, 502, "upstream_error"],
  ])("reach the client of a provider that answers %i", async (status, clientStatus, code) => {
    const headers = { "retry-after": "7", "retry-after-ms": "6500" };
    const { answer, credits } = await buy(anthropic, { ...anthropicError(status, "overloaded_error", "Overloaded"), headers });
    expect([answer.status, answer.json.error.code, credits]).toEqual([clientStatus, code, 0]);
    expect([answer.headers.get("retry-after"), answer.headers.get("retry-after-ms")]).toEqual(["7", "6500"]);
  });
});
