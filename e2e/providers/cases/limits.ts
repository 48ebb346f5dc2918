import { describe, expect, test } from "vitest";
import { completion, usage } from "../../../src/testing/upstream-answers.ts";
import { anthropic } from "../behaviours/anthropic.ts";
import { deepseek } from "../behaviours/deepseek.ts";
import { google } from "../behaviours/google.ts";
import { groq } from "../behaviours/groq.ts";
import { mistral } from "../behaviours/mistral.ts";
import { ollama } from "../behaviours/ollama.ts";
import { openai } from "../behaviours/openai.ts";
import { openrouter } from "../behaviours/openrouter.ts";
import { vllm } from "../behaviours/vllm.ts";
import { xai } from "../behaviours/xai.ts";
import { buy } from "../server.ts";

const answer = completion({ usage: usage(1_000, 100) });
const limitsOf = (body: Record<string, unknown> = {}) =>
  Object.fromEntries(Object.entries(body).filter(([name]) => name.startsWith("max_")));

describe("an output limit", () => {
  const rows = [
    [openai, "max_completion_tokens", 540],
    [google, "max_tokens", 660],
    [anthropic, "max_tokens", 5_400],
    [mistral, "max_tokens", 780],
    [groq, "max_completion_tokens", 126],
    [deepseek, "max_tokens", 504],
    [xai, "max_completion_tokens", 1_800],
    [openrouter, "max_tokens", 5_400],
    [ollama, "max_tokens", 1_440],
    [vllm, "max_tokens", 1_440],
  ] as const;
  test.each(rows.map(([provider, name, credits]) => ({ id: provider.id, provider, name, credits })))(
    "reaches $id as $name only; of two limits the lower one is sent",
    async ({ provider, name, credits }) => {
      for (const asked of [
        { max_completion_tokens: 150 },
        { max_tokens: 150 },
        { max_tokens: 200, max_completion_tokens: 150 },
        { max_completion_tokens: 150, max_tokens: null },
        { max_tokens: 150, max_completion_tokens: 200 },
      ]) {
        const bought = await buy(provider, answer, { body: asked });
        expect([bought.answer.status, limitsOf(bought.requests[0]?.body)]).toEqual([200, { [name]: 150 }]);
        expect([bought.toldCredits, bought.credits]).toEqual([credits, credits]);
      }
      const without = await buy(provider, answer);
      expect(without.answer.status).toBe(200);
      expect(Object.keys(limitsOf(without.requests[0]?.body)).every((each) => each === name)).toBe(true);
    },
  );

  test("keeps the name that the app used when an OpenAI model does not reason", async () => {
    for (const body of [{ max_tokens: 50 }, { max_completion_tokens: 50 }]) {
      const bought = await buy({ ...openai, model: "gpt-4o-mini" }, answer, { body });
      expect([bought.answer.status, limitsOf(bought.requests[0]?.body)]).toEqual([200, body]);
    }
  });
});
