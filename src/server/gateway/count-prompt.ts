import type { ProviderId } from "../pricing/catalogue.ts";
import type { CompletionRequest, Dialect } from "./dialects/dialect.ts";
import { boundTokens, couldNotCount } from "./dialects/prompt.ts";
import { upstreamRefusal } from "./provider-error.ts";
import type { Upstream } from "./providers.ts";
import { tooBusyToCount } from "./refusals.ts";
import { ask, decoded, findUpstream, parseObject, readAnswer } from "./upstream.ts";

/** The providers with an endpoint that counts a prompt's tokens at no charge, by its path. */
const COUNTS: Readonly<Record<string, ProviderId>> = { "/messages/count_tokens": "anthropic", "/responses/input_tokens": "openai" };

/**
 * The tokens of a request's prompt: the provider's own count, or a tokenizer's when the provider has no such endpoint
 * or does not answer. Nothing is held or billed. Throws AppError: `bad_request` when the provider refuses the request,
 * `overloaded` when the tokenizer is too busy.
 */
export async function countPrompt(
  dialect: Dialect,
  request: CompletionRequest,
  { appId, billingMode, signal }: { appId: string; billingMode: "developer" | "user" | "test"; signal: AbortSignal },
): Promise<number> {
  if (request.model.provider === COUNTS[dialect.upstreamPath]) {
    const upstream = await findUpstream(request, { billingMode });
    if (upstream.provider !== "simulator") {
      const counted = await askForCount(upstream, dialect, request, AbortSignal.any([signal, AbortSignal.timeout(PROVIDER_TIMEOUT_MS)]));
      if (counted !== null) return counted;
    }
  }
  if (request.text.length > ALWAYS_COUNTED_CHARACTERS) {
    // No bill depends on this count, so a prompt that is too long to count is estimated by its bytes.
    const bound = await boundTokens(request, appId, request.text);
    if (bound === null && couldNotCount(request)) throw tooBusyToCount();
    if (bound === null) return Math.ceil(Buffer.byteLength(request.text) / BYTES_PER_TOKEN);
  }
  return dialect.countPrompt(request, appId);
}

const PROVIDER_TIMEOUT_MS = 10_000;
/** A tokenizer counts so much in a few milliseconds, so it is counted also when the tokenizer is busy. */
const ALWAYS_COUNTED_CHARACTERS = 64 * 1024;
const BYTES_PER_TOKEN = 4;

/** Null when the provider answered without a count, or not at all. Throws its `bad_request`. */
async function askForCount(upstream: Upstream, dialect: Dialect, request: CompletionRequest, signal: AbortSignal): Promise<number | null> {
  try {
    const response = decoded(await ask(upstream, { dialect, request }, null, signal));
    if (response.statusCode !== 200) {
      const refusal = await upstreamRefusal(response, upstream.provider);
      if (refusal.code === "bad_request") throw refusal;
      return null;
    }
    const counted = parseObject((await readAnswer(response.body)) ?? "")?.input_tokens;
    return typeof counted === "number" && Number.isSafeInteger(counted) && counted >= 0 ? counted : null;
  } catch (error) {
    if ((error as { code?: unknown }).code === "bad_request") throw error;
    return null;
  }
}
