import { statSync } from "node:fs";
import { env } from "#env";
import type { Model } from "./models.ts";

/*
 * Display names and release days for lists of models; billing does not use them. Days are those of the providers'
 * announcements, as on models.dev and the providers' model pages on 2026-11-29.
 */
const INTRODUCTIONS: Readonly<Record<string, readonly [name: string, day: string]>> = {
  "gpt-6-astra": ["GPT-6 Astra", "2026-09-03"],
  "gpt-6.1-sol": ["GPT-6.1 Sol", "2026-09-29"],
  "gpt-6.1-terra": ["GPT-6.1 Terra", "2026-10-26"],
  "gpt-6-sol": ["GPT-6 Sol", "2026-09-22"],
  "gpt-6-luna": ["GPT-6 Luna", "2026-09-22"],
  "gpt-5.6-terra": ["GPT-5.6 Terra", "2026-07-09"],
  "gpt-5.6-luna": ["GPT-5.6 Luna", "2026-07-09"],
  "gpt-5.5": ["GPT-5.5", "2026-04-23"],
  "gpt-5.4": ["GPT-5.4", "2026-03-05"],
  "gpt-5.4-mini": ["GPT-5.4 mini", "2026-03-17"],
  "gpt-5.4-nano": ["GPT-5.4 nano", "2026-03-17"],
  "gpt-5.2": ["GPT-5.2", "2025-12-11"],
  "gpt-5": ["GPT-5", "2025-08-07"],
  "gpt-5-mini": ["GPT-5 mini", "2025-08-07"],
  "gpt-5-nano": ["GPT-5 nano", "2025-08-07"],
  o3: ["o3", "2025-04-16"],
  "gpt-4.1": ["GPT-4.1", "2025-04-14"],
  "gpt-4.1-mini": ["GPT-4.1 mini", "2025-04-14"],
  "gpt-4o": ["GPT-4o", "2024-05-13"],
  "gpt-4o-mini": ["GPT-4o mini", "2024-07-18"],
  "text-embedding-3-small": ["Text Embedding 3 Small", "2024-01-25"],
  "text-embedding-3-large": ["Text Embedding 3 Large", "2024-01-25"],
  "gemini-4-argon": ["Gemini 4 Argon", "2026-10-13"],
  "gemini-3.8-flash": ["Gemini 3.8 Flash", "2026-09-02"],
  "gemini-3.5-flash": ["Gemini 3.5 Flash", "2026-05-19"],
  "gemini-3.5-flash-lite": ["Gemini 3.5 Flash-Lite", "2026-07-21"],
  "gemini-3.1-pro-preview": ["Gemini 3.1 Pro Preview", "2026-02-19"],
  "gemini-3.1-flash-lite": ["Gemini 3.1 Flash-Lite", "2026-05-07"],
  "gemini-2.5-flash": ["Gemini 2.5 Flash", "2025-06-17"],
  "gemini-2.5-flash-lite": ["Gemini 2.5 Flash-Lite", "2025-07-22"],
  "claude-fable-5-1": ["Claude Fable 5.1", "2026-09-01"],
  "claude-opus-5-5": ["Claude Opus 5.5", "2026-09-22"],
  "claude-opus-5": ["Claude Opus 5", "2026-07-24"],
  "claude-opus-4-8": ["Claude Opus 4.8", "2026-05-28"],
  "claude-opus-4-6": ["Claude Opus 4.6", "2026-02-05"],
  "claude-sonnet-5-5": ["Claude Sonnet 5.5", "2026-09-28"],
  "claude-sonnet-5": ["Claude Sonnet 5", "2026-06-30"],
  "claude-sonnet-4-6": ["Claude Sonnet 4.6", "2026-02-17"],
  "claude-haiku-5-5": ["Claude Haiku 5.5", "2026-10-07"],
  "claude-haiku-4-5": ["Claude Haiku 4.5", "2025-10-15"],
  "mistral-large-4": ["Mistral Large 4", "2026-10-06"],
  "mistral-large-2512": ["Mistral Large 3", "2025-12-02"],
  "mistral-medium-3-5": ["Mistral Medium 3.5", "2026-04-30"],
  "mistral-small-2603": ["Mistral Small 4", "2026-03-16"],
  "codestral-2508": ["Codestral 25.08", "2025-07-30"],
  "ministral-8b-2512": ["Ministral 3 8B", "2025-12-02"],
  "mistral-embed": ["Mistral Embed", "2023-12-11"],
  "groq/openai/gpt-oss-120b": ["gpt-oss-120b (Groq)", "2025-08-05"],
  "groq/openai/gpt-oss-20b": ["gpt-oss-20b (Groq)", "2025-08-05"],
  "groq/qwen/qwen3.8-27b": ["Qwen3.8 27B (Groq)", "2026-08-14"],
  "deepseek-flash": ["DeepSeek Flash", "2026-09-10"],
  "deepseek-v4-pro": ["DeepSeek V4 Pro", "2026-04-24"],
  "grok-4.7": ["Grok 4.7", "2026-09-21"],
  "grok-4.6": ["Grok 4.6", "2026-08-12"],
  "grok-4.3": ["Grok 4.3", "2026-04-17"],
  "grok-4.20-0309-reasoning": ["Grok 4.20 Reasoning", "2026-03-09"],
  "grok-4.20-0309-non-reasoning": ["Grok 4.20 Non-Reasoning", "2026-03-09"],
  "grok-build-0.1": ["Grok Build 0.1", "2026-04-16"],
  "openrouter/openai/gpt-6.1-terra": ["GPT-6.1 Terra (OpenRouter)", "2026-10-26"],
  "openrouter/moonshotai/kimi-k3": ["Kimi K3 (OpenRouter)", "2026-07-16"],
  "openrouter/qwen/qwen3.8-max": ["Qwen3.8 Max (OpenRouter)", "2026-08-03"],
  "openrouter/minimax/minimax-m3": ["MiniMax M3 (OpenRouter)", "2026-06-01"],
};

/** A model's display name and release. An operator's own model has its id as name, and the date of the operator's file. */
export function introductionOf({ id, custom }: Model): { name: string; at: Date } {
  const [name, day] = custom ? [] : (INTRODUCTIONS[id] ?? []);
  return { name: name ?? id, at: day === undefined ? listedAt() : new Date(`${day}T00:00:00Z`) };
}

let listed: Date | undefined;

/** When the operator's list of models was last written, read once as the list is; now when there is no such list. */
function listedAt(): Date {
  listed ??= env.QUOTA_MODELS_FILE === undefined ? new Date() : statSync(env.QUOTA_MODELS_FILE).mtime;
  return listed;
}
