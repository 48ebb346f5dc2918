import type { ErrorBody, QuotaErrorCode } from "./wire.ts";

/** The details of an API error. */
export interface QuotaErrorDetails {
  /** HTTP status. */
  status: number;
  /** The machine-readable code, such as `insufficient_credits`. For a request that a provider refused, the provider's code, such as `context_length_exceeded`. */
  code: QuotaErrorCode | (string & {});
  /** OpenAI's error type, such as `insufficient_quota`. */
  type: string;
  /** The field at fault; null when no field is. */
  param: string | null;
  /** What to do next, when there is a hint. */
  hint: string | undefined;
  /** The page that explains this code. */
  docsUrl: string | undefined;
  /** The request's id at Quota, for support. */
  requestId: string | undefined;
  /** How long to wait before a retry, in milliseconds. */
  retryAfterMs: number | undefined;
}

/** The base of all errors that this package throws, except the reason of your abort signal. */
export class QuotaError extends Error {
  override readonly name: string = "QuotaError";
}

/** The API answered with an error. Most statuses have a subclass below. */
export class QuotaApiError extends QuotaError implements QuotaErrorDetails {
  readonly status: number;
  readonly code: QuotaErrorDetails["code"];
  readonly type: string;
  readonly param: string | null;
  readonly hint: string | undefined;
  readonly docsUrl: string | undefined;
  readonly requestId: string | undefined;
  readonly retryAfterMs: number | undefined;
  override readonly name: string = "QuotaApiError";

  constructor(message: string, details: QuotaErrorDetails) {
    super(message);
    this.status = details.status;
    this.code = details.code;
    this.type = details.type;
    this.param = details.param;
    this.hint = details.hint;
    this.docsUrl = details.docsUrl;
    this.requestId = details.requestId;
    this.retryAfterMs = details.retryAfterMs;
  }
}

/** 400: a field of the request cannot be used (`param` names it), or a `user` key came without a user (`user_required`). */
export class BadRequestError extends QuotaApiError {
  override readonly name: string = "BadRequestError";
}

/** 401 `invalid_api_key`: the credential is missing, malformed, unknown, revoked or expired. */
export class AuthenticationError extends QuotaApiError {
  override readonly name: string = "AuthenticationError";
}

/** 402: `insufficient_credits` when the wallet cannot pay, `spending_limit_reached` when the user's own limit for your app is used up. */
export class InsufficientCreditsError extends QuotaApiError {
  override readonly name: string = "InsufficientCreditsError";
}

/** 403: `insufficient_scope` or `model_not_allowed`. */
export class PermissionDeniedError extends QuotaApiError {
  override readonly name: string = "PermissionDeniedError";
}

/** 404: `not_found` when no user is linked under this id or no such object exists, or `model_not_found`. */
export class NotFoundError extends QuotaApiError {
  override readonly name: string = "NotFoundError";
}

/** 409 `idempotency_conflict`: the key was used with another request, or its first request is still running. */
export class ConflictError extends QuotaApiError {
  override readonly name: string = "ConflictError";
}

/** 413 `request_too_large`. */
export class RequestTooLargeError extends QuotaApiError {
  override readonly name: string = "RequestTooLargeError";
}

/** 429: `rate_limit_exceeded` is Quota's limit, `rate_limit` the provider's; `credits_on_hold` when running requests hold the credits. */
export class RateLimitError extends QuotaApiError {
  override readonly name: string = "RateLimitError";
}

/** 500 `internal_error`: a fault of the server. Nothing was billed. */
export class InternalServerError extends QuotaApiError {
  override readonly name: string = "InternalServerError";
}

/** 502 `upstream_error`: the model's provider failed. Nothing was billed. */
export class UpstreamError extends QuotaApiError {
  override readonly name: string = "UpstreamError";
}

/** 503: `provider_unavailable`, `payments_unavailable`, `overloaded`, or `unavailable` while the database cannot be reached. */
export class UnavailableError extends QuotaApiError {
  override readonly name: string = "UnavailableError";
}

/** 504 `gateway_timeout`: the provider did not answer in time. Nothing was billed. */
export class GatewayTimeoutError extends QuotaApiError {
  override readonly name: string = "GatewayTimeoutError";
}

/** The authorization server refused the request; `code` is OAuth's, such as `invalid_grant`. */
export class QuotaOAuthError extends QuotaApiError {
  override readonly name: string = "QuotaOAuthError";
}

/** No complete answer arrived: the network failed (`cause` has its error), or a stream ended early. */
export class QuotaConnectionError extends QuotaError {
  override readonly name: string = "QuotaConnectionError";
}

/** No answer, or no further part of a stream, arrived within `timeoutMs`. */
export class QuotaTimeoutError extends QuotaConnectionError {
  override readonly name: string = "QuotaTimeoutError";
}

/** A webhook was not signed with this secret, is too old, or is no event. */
export class WebhookVerificationError extends QuotaError {
  override readonly name: string = "WebhookVerificationError";
}

const byStatus: Record<number, typeof QuotaApiError> = {
  400: BadRequestError,
  401: AuthenticationError,
  402: InsufficientCreditsError,
  403: PermissionDeniedError,
  404: NotFoundError,
  409: ConflictError,
  413: RequestTooLargeError,
  429: RateLimitError,
  500: InternalServerError,
  502: UpstreamError,
  503: UnavailableError,
  504: GatewayTimeoutError,
};

/** @internal The error for an answer's status and body. The body may be anything. */
export function errorFor(status: number, headers: Headers, text: string): QuotaApiError {
  const retryAfterMs = readRetryAfter(headers.get("retry-after"));
  const common = { status, requestId: headers.get("x-request-id") ?? undefined, retryAfterMs };
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    // A proxy between may answer with HTML.
  }
  const error = (body as Partial<ErrorBody> | null | undefined)?.error as ErrorBody["error"] | string | undefined;
  if (typeof error === "string") {
    const description = (body as { error_description?: string }).error_description;
    return new QuotaOAuthError(description ?? error, {
      ...common,
      code: error,
      type: "oauth_error",
      param: null,
      hint: undefined,
      docsUrl: undefined,
    });
  }
  return new (byStatus[status] ?? QuotaApiError)(error?.message ?? `The server answered ${status}.`, {
    ...common,
    code: error?.code ?? "unknown",
    type: error?.type ?? "api_error",
    param: error?.param ?? null,
    hint: error?.hint,
    docsUrl: error?.docs_url,
  });
}

/** Retry-After in seconds or as a date (RFC 9110 §10.2.3), as milliseconds from now. */
function readRetryAfter(value: string | null): number | undefined {
  if (value === null || value === "") return undefined;
  const ms = Number.isNaN(Number(value)) ? Date.parse(value) - Date.now() : Number(value) * 1000;
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}
