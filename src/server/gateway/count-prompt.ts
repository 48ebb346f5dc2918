import type { ProviderId } from "../pricing/catalogue.ts";
import type { CompletionRequest, Dialect } from "./dialects/dialect.ts";
import { boundTokens, couldNotCount } from "./dialects/prompt.ts";
import { upstreamRefusal } from "./provider-error.ts";
import type { Upstream } from "./providers.ts";
import { tooBusyToCount } from "./refusals.ts";
import { ask, decoded, findUpstream, parseObject, readAnswer } from "./upstream.ts";

/** Whose own count is asked for, by the path it is under. Asking is free there. */
const COUNTS: Readonly<Record<string, ProviderId>> = { "/messages/count_tokens": "anthropic", "/responses/input_tokens": "openai" };

/**
 * The tokens of a request's prompt. The provider's own count where it has one; by tokenizer where it has none, and
 * where it does not answer. Nothing is held or billed. Throws AppError: what the provider refuses is refused, and
 * `overloaded` when there is no time to count now.
 */
export async function countPrompt(
  dialect: Dialect,
  request: CompletionRequest,
  { appId, billingMode, signal }: { appId: string; billingMode: "developer" | "user" | "test"; signal: AbortSignal },
): Promise<number> {
  if (request.model.provider === COUNTS[dialect.upstreamPath]) {
    const upstream = await findUpstream(request, { billingMode });
    if (upstream.provider !== "simulator") {
      const counted = await askForCount(upstream, dialect, request, AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]));
      if (counted !== null) return counted;
    }
  }
  if (request.text.length > WITHOUT_ASKING_CHARACTERS) {
    // No bill waits for this count, so it gives way when there is much to count.
    const bound = await boundTokens(request, appId, request.text);
    if (bound === null && couldNotCount(request)) throw tooBusyToCount();
    if (bound === null) return Math.ceil(Buffer.byteLength(request.text) / BYTES_PER_TOKEN);
  }
  return dialect.countPrompt(request, appId);
}

const PATIENCE_MS = 10_000;
/** Counted in a few milliseconds. */
const WITHOUT_ASKING_CHARACTERS = 64 * 1024;
const BYTES_PER_TOKEN = 4;

/** Null when the provider has no count to give. */
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
