import { describe, expect, test } from "vitest";
import { catalogue } from "./catalogue.ts";
import { findModel, type Model } from "./models.ts";
import { nearestNames, resolveName } from "./names.ts";

const models = new Map<string, Model>(catalogue.map((model) => [model.id, { ...model, custom: false }]));
const named = (name: string) => {
  const model = resolveName(models, name);
  return model === undefined ? null : [model.id, model.upstreamId];
};

describe("a name stands for", () => {
  test("every model under its own name", () => {
    for (const { id, upstreamId } of catalogue) expect(named(id)).toEqual([id, upstreamId]);
  });

  test.each([
    ["gpt-4o-mini-2024-07-18", "gpt-4o-mini"],
    ["gpt-4o-2024-11-20", "gpt-4o"],
    ["gpt-5.4-nano-2026-03-17", "gpt-5.4-nano"],
    ["claude-haiku-4-5-20251001", "claude-haiku-4-5"],
  ])("the undated model when it is a snapshot at that model's price, and the provider gets the snapshot's name: %s", (name, id) => {
    expect(named(name)).toEqual([id, name]);
    expect(findModel(name)).toEqual({ ...findModel(id), upstreamId: name });
  });

  test.each([
    ["openai/gpt-4o-mini", "gpt-4o-mini", "gpt-4o-mini"],
    ["openai/gpt-4o-mini-2024-07-18", "gpt-4o-mini", "gpt-4o-mini-2024-07-18"],
    ["anthropic/claude-haiku-4.5", "claude-haiku-4-5", "claude-haiku-4-5"],
    ["claude-opus-4.8", "claude-opus-4-8", "claude-opus-4-8"],
    ["claude-haiku-4-5@20251001", "claude-haiku-4-5", "claude-haiku-4-5-20251001"],
    ["google/gemini-2.5-flash", "gemini-2.5-flash", "gemini-2.5-flash"],
    ["models/gemini-2.5-flash", "gemini-2.5-flash", "gemini-2.5-flash"],
    ["mistralai/codestral-2508", "codestral-2508", "codestral-2508"],
    ["x-ai/grok-4.7", "grok-4.7", "grok-4.7"],
    ["deepseek/deepseek-v4-pro", "deepseek-v4-pro", "deepseek-v4-pro"],
    // The maker's own model rather than a host's; a host's when the maker does not sell it.
    ["openai/gpt-6.1-terra", "gpt-6.1-terra", "gpt-6.1-terra"],
    ["openai/gpt-oss-120b", "groq/openai/gpt-oss-120b", "openai/gpt-oss-120b"],
    ["moonshotai/kimi-k3", "openrouter/moonshotai/kimi-k3", "moonshotai/kimi-k3"],
  ])("a model with its maker as prefix: %s", (name, id, asked) => {
    expect(named(name)).toEqual([id, asked]);
  });

  test.each([
    ["codestral-latest", "codestral-2508"],
    ["mistral/mistral-small-latest", "mistral-small-2603"],
    ["grok-4.3-latest", "grok-4.3"],
    ["claude-haiku-4-5-latest", "claude-haiku-4-5"],
  ])("the one model of a series, and the provider gets the list's name: %s", (name, id) => {
    expect(named(name)).toEqual([id, id]);
  });

  test.each([
    // These cost more than the undated name.
    "gpt-4o-2024-05-13",
    "chatgpt-4o-latest",
    "gpt-4o-2030-01-01",
    "gpt-4o-audio-preview",
    "gpt-5.4-pro",
    // Several models match.
    "mistral-large-latest",
    "gemini-flash-latest",
    "claude-opus-latest",
    "gpt-latest",
    // Another maker's.
    "anthropic/gpt-4o-mini",
    "openai/claude-haiku-4-5",
    "groq/gpt-4o-mini",
    "openrouter/gpt-4o-mini",
    "google/google/gemini-2.5-flash",
    "constructor/gpt-4o",
    "__proto__",
    "constructor",
    "",
    "/",
    "-latest",
    "openai/",
    "GPT-4o",
    " gpt-4o",
    "openai/".repeat(1_000),
  ])("nothing when it is unknown, ambiguous or has another price: %j", (name) => {
    expect(named(name)).toBeNull();
  });

  test("a snapshot does not stand for an operator's own model, which keeps its name at the provider under every alias", () => {
    const own = (id: string, upstreamId: string): Model => ({ ...(models.get("gpt-4o-mini") as Model), id, upstreamId, custom: true });
    const mixed = new Map([...models, ["gpt-4o", own("gpt-4o", "local/llama")], ["openai/gpt-4o-mini", own("openai/gpt-4o-mini", "mine")]]);
    expect(resolveName(mixed, "gpt-4o-2024-11-20")).toBeUndefined();
    expect(resolveName(mixed, "openai/gpt-4o")?.upstreamId).toBe("local/llama");
    expect(resolveName(mixed, "openai/gpt-4o-mini")?.upstreamId).toBe("mine");
  });
});

describe("the nearest names", () => {
  test.each([
    ["gpt-4o-min", "gpt-4o-mini"],
    ["GPT-4o", "gpt-4o"],
    ["gpt-4o-2024-05-13", "gpt-4o"],
    ["claude-3-5-haiku-latest", "claude-haiku-4-5"],
    ["claude-opus-4-7", "claude-opus-4-8"],
    ["mistral-large-latest", "mistral-large-4"],
    ["gemini-flash-latest", "gemini-2.5-flash"],
    ["gpt-oss-120b", "groq/openai/gpt-oss-120b"],
    ["text-embedding-ada-002", "text-embedding-3-large"],
    ["anthropic/claude-sonnet", "claude-sonnet-5"],
  ])("of %s include %s, and are three at most", (name, near) => {
    const nearest = nearestNames(models.keys(), name);
    expect(nearest).toContain(near);
    expect(nearest.length).toBeLessThanOrEqual(3);
  });

  test.each(["llama", "zzzz", "", "🦊", "x".repeat(100_000)])("are none when no id resembles the name: %j", (name) => {
    expect(nearestNames(models.keys(), name)).toEqual([]);
  });
});
