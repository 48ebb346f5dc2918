import { AppError } from "../platform/errors.ts";
import { log } from "../platform/log.ts";
import { readStart, type UpstreamResponse } from "./upstream.ts";

/** Reads errors of providers, and turns them into the errors that clients get. */

type ProviderError = { message: string | null; param: string | null; code: string | null; type: string | null };

/** The error for the client. It has the provider's status and message only when the provider refused the request itself. */
export async function upstreamRefusal(response: UpstreamResponse, provider: string): Promise<AppError> {
  const status = response.statusCode;
  const error = readProviderError(await readStart(response.body));
  const { message, param, code } = error;
  // Without the message, which may repeat the prompt: the detail is logged.
  const detail = { provider, status, code };
  const headers = WITH_RETRY_AFTER.includes(status) ? retryAfter(response.headers) : {};
  if (isAboutAccount(status, error)) {
    log.warn("a provider refused this server's own account; check its key, and its balance or plan", detail);
    return failed(status, headers, detail);
  }
  if (status === 429) return new AppError("rate_limit", { headers, detail });
  // The app can mend a request of these statuses. Others, such as 401, are about
  // this server's own account with the provider.
  if (ABOUT_REQUEST.includes(status) && message !== null)
    return new AppError("bad_request", { status, message, param, upstreamCode: code ?? undefined, detail });
  return failed(status, headers, detail);
}

const ABOUT_REQUEST: readonly number[] = [400, 409, 413, 415, 422];
const WITH_RETRY_AFTER: readonly number[] = [429, 503, 529];

function failed(status: number, headers: Record<string, string>, detail: unknown): AppError {
  return new AppError("upstream_error", {
    message: `The model's provider failed with status ${status}. Nothing was billed.`,
    headers,
    detail,
  });
}

/** Official clients obey both; `retry-after-ms` is OpenAI's, in milliseconds. */
function retryAfter(headers: UpstreamResponse["headers"]): Record<string, string> {
  return Object.fromEntries(
    ["retry-after", "retry-after-ms"].flatMap((name) => {
      const value = headers[name];
      return typeof value === "string" ? [[name, value]] : [];
    }),
  );
}

/**
 * Some providers answer 400 or 429 when the operator's account is empty or its key is wrong. A client can mend neither,
 * and a retry does not help.
 *
 * - OpenAI, 429 `insufficient_quota`: https://platform.openai.com/docs/guides/error-codes
 * - Anthropic, 400 "Your credit balance is too low": https://platform.claude.com/docs/en/api/errors
 * - Google, 400 `API_KEY_INVALID` and `FAILED_PRECONDITION`: https://ai.google.dev/gemini-api/docs/troubleshooting
 * - xAI, 400 "Incorrect API key provided": https://docs.x.ai/docs/key-information/debugging
 */
function isAboutAccount(status: number, { message, code, type }: ProviderError): boolean {
  if ([code, type].some((name) => name !== null && ACCOUNT_CODES.has(name))) return true;
  return status !== 429 && message !== null && ACCOUNT_MESSAGE.test(message);
}

const ACCOUNT_CODES: ReadonlySet<string> = new Set([
  ...["insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "billing_error"],
  ...["invalid_api_key", "API_KEY_INVALID", "FAILED_PRECONDITION", "PERMISSION_DENIED", "UNAUTHENTICATED"],
]);
const ACCOUNT_MESSAGE =
  /credit balance is too low|insufficient balance|(?:incorrect|invalid|missing|expired) api[ _-]?key|api[ _-]?key (?:not valid|expired|not found|is invalid)/i;

/** The longest part of a provider's message that is passed on, in characters: a message may repeat a whole schema. */
const LONGEST_MESSAGE = 4_000;

/**
 * Reads the error envelopes of the providers: OpenAI's `{"error":{…}}`, the same in a list (Google), `{"error":"…"}` (Ollama,
 * xAI), the error without an envelope (vLLM), `{"detail":…}` (FastAPI), and a message that is itself such an envelope (Mistral).
 */
export function readProviderError(text: string): ProviderError {
  const parsed = parse(text);
  const body = objectIn(parsed);
  if (body === null) return { message: null, param: null, code: null, type: null };
  const envelope = objectIn(body.error) ?? body;
  const found =
    messageIn(envelope.message) ?? messageIn(envelope.detail) ?? messageIn(body.error) ?? messageIn(body.message) ?? messageIn(body.detail);
  const reason = Array.isArray(envelope.details)
    ? (envelope.details as unknown[]).map((each) => objectIn(each)?.reason).find(isText)
    : undefined;
  return {
    message: found?.message.slice(0, LONGEST_MESSAGE) ?? null,
    param: isText(envelope.param) ? envelope.param : (found?.param ?? null),
    code: reason !== undefined && ACCOUNT_CODES.has(reason) ? reason : ([envelope.code, envelope.status].find(isText) ?? null),
    type: isText(envelope.type) ? envelope.type : null,
  };
}

type FoundMessage = { message: string; param: string | null };

/** A text, or FastAPI's validation error: a list with the path (`loc`) and the reason (`msg`) of each refused member. */
function messageIn(value: unknown, depth = 0): FoundMessage | null {
  if (depth > DEEPEST_MESSAGE) return null;
  const within = (inner: unknown) => messageIn(inner, depth + 1);
  if (isText(value)) {
    const inner = /^\s*[[{]/.test(value) ? parse(value) : null;
    return (inner === null ? null : within(inner)) ?? { message: value, param: null };
  }
  if (Array.isArray(value)) {
    const each = value.flatMap((one) => within(one) ?? []);
    return each.length === 0 ? null : { message: each.map(({ message }) => message).join("; "), param: each[0]?.param ?? null };
  }
  const object = objectIn(value);
  if (object === null) return null;
  if (isText(object.msg)) {
    const place = Array.isArray(object.loc) ? object.loc.filter((step, index) => index > 0 || step !== "body").join(".") : "";
    return place === "" ? { message: object.msg, param: null } : { message: `${place}: ${object.msg}`, param: place };
  }
  return within(object.message) ?? within(object.detail) ?? within(object.error);
}

/** Real envelopes are two or three deep; without a bound a nested one would overflow the stack. */
const DEEPEST_MESSAGE = 8;

const isText = (value: unknown): value is string => typeof value === "string" && value !== "";

function objectIn(value: unknown): Record<string, unknown> | null {
  const first: unknown = Array.isArray(value) ? value[0] : value;
  return typeof first === "object" && first !== null && !Array.isArray(first) ? (first as Record<string, unknown>) : null;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
