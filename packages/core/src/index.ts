/**
 * Quota's API: AI requests that are paid from your user's own wallet.
 *
 * @module
 */
export {
  type AuthorizeParams,
  type CreditPackage,
  type ExchangeCodeParams,
  QuotaClient,
  type QuotaClientOptions,
} from "./client.ts";
export {
  AuthenticationError,
  BadRequestError,
  ConflictError,
  GatewayTimeoutError,
  InsufficientCreditsError,
  InternalServerError,
  NotFoundError,
  PermissionDeniedError,
  QuotaApiError,
  QuotaConnectionError,
  QuotaError,
  type QuotaErrorDetails,
  QuotaOAuthError,
  QuotaTimeoutError,
  RateLimitError,
  RequestTooLargeError,
  UnavailableError,
  UpstreamError,
  WebhookVerificationError,
} from "./errors.ts";
export { createPkce, type Pkce, randomText } from "./pkce.ts";
export { ChatCompletionStream } from "./stream.ts";
export type * from "./types.ts";
export {
  constructEvent,
  type QuotaEventType,
  verifyWebhookSignature,
  type WebhookHeaders,
  type WebhookOptions,
  type WebhookPayload,
} from "./webhooks.ts";
export type * from "./wire.ts";
