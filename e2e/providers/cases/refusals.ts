import { describe, expect, test } from "vitest";
import { type Behaviour, json, refusal } from "../../../src/testing/upstream-answers.ts";
import type { Provider } from "../far-end.ts";
import { buy, logLines } from "../stage.ts";
import { anthropic, anthropicError } from "../ways/anthropic.ts";
import { deepseek } from "../ways/deepseek.ts";
import { google, googleError } from "../ways/google.ts";
import { mistral, mistralInvalid } from "../ways/mistral.ts";
import { ollama, ollamaError } from "../ways/ollama.ts";
import { openai, openaiEmpty } from "../ways/openai.ts";
import { vllm, vllmInvalid } from "../ways/vllm.ts";
import { xai } from "../ways/xai.ts";

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
  test.each(rows.map(([provider, way, status, message, code]) => ({ id: provider.id, provider, way, status, message, code })))(
    "of $id keeps its status and its words, $message; it is asked for once and costs nothing",
    async ({ provider, way, status, message, code }) => {
      for (const stream of [false, true]) {
        const bought = await buy(provider, way, { stream });
        expect({ status: bought.answer.status, ...bought.answer.json.error }).toMatchObject({ status, message, code });
        expect([bought.credits, bought.outcome, bought.requests.length]).toEqual([0, "failed", 1]);
      }
    },
  );
});

describe("a refusal of the operator's account", () => {
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
  test.each(rows.map(([provider, way], index) => ({ id: provider.id, index, provider, way })))(
    "by $id is 502 in no words of the provider, and the log says so ($index)",
    async ({ provider, way }) => {
      const before = logLines().length;
      const bought = await buy(provider, way);
      expect([bought.answer.status, bought.answer.json.error.code, bought.credits]).toEqual([502, "upstream_error", 0]);
      expect(bought.answer.text).not.toContain("secret");
      const said = logLines().slice(before);
      expect(said.map(({ message }) => message)).toContain(
        "a provider refused this server's own account; check its key, and its balance or plan",
      );
      expect(JSON.stringify(said)).not.toContain("secret");
    },
  );
});

describe("when to try again", () => {
  test.each([
    [429, 429, "rate_limit"],
    [503, 502, "upstream_error"],
    [529, 502, "upstream_error"],
  ])("goes through with %i", async (status, told, code) => {
    const headers = { "retry-after": "7", "retry-after-ms": "6500" };
    const { answer, credits } = await buy(anthropic, { ...anthropicError(status, "overloaded_error", "Overloaded"), headers });
    expect([answer.status, answer.json.error.code, credits]).toEqual([told, code, 0]);
    expect([answer.headers.get("retry-after"), answer.headers.get("retry-after-ms")]).toEqual(["7", "6500"]);
  });
});
