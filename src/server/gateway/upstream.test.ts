import { expect, test } from "vitest";
import { chatCompletions } from "./dialects/chat-completions.ts";
import type { Upstream } from "./providers.ts";
import { ask } from "./upstream.ts";

/** The model that a provider is asked for when the app asks for `model`. */
async function askedFor(model: string, provider: Upstream["provider"]): Promise<unknown> {
  let sent = "";
  const pool = {
    request: async ({ body }: { body: string }) => {
      sent = body;
    },
  } as unknown as Upstream["pool"];
  const upstream = { provider, pool, pathPrefix: "/v1", headers: {}, messagesHeaders: {}, streamOptions: true } as unknown as Upstream;
  const request = chatCompletions.read(JSON.stringify({ model, messages: [{ role: "user", content: "hi" }] }), () => null);
  await ask(upstream, { dialect: chatCompletions, request }, null, new AbortController().signal);
  return (JSON.parse(sent) as { model: unknown }).model;
}

test.each([
  ["gpt-4o-mini", "openai", "gpt-4o-mini"],
  ["openai/gpt-4o-mini", "openai", "gpt-4o-mini"],
  ["gpt-4o-mini-2024-07-18", "openai", "gpt-4o-mini-2024-07-18"],
  ["openai/gpt-4o-mini-2024-07-18", "openai", "gpt-4o-mini-2024-07-18"],
  ["anthropic/claude-haiku-4.5", "anthropic", "claude-haiku-4-5"],
  ["mistral-small-latest", "mistral", "mistral-small-2603"],
  ["groq/openai/gpt-oss-20b", "groq", "openai/gpt-oss-20b"],
  ["openai/gpt-oss-20b", "groq", "openai/gpt-oss-20b"],
] as const)("for %s, the request to %s names the model that is billed: %s", async (model, provider, name) => {
  expect(await askedFor(model, provider)).toBe(name);
});

test("the simulator gets the model's name as the app sent it", async () => {
  for (const model of ["gpt-4o-mini", "openai/gpt-4o-mini", "groq/openai/gpt-oss-20b"])
    expect(await askedFor(model, "simulator")).toBe(model);
});
