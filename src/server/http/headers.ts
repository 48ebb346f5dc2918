/**
 * Headers of every reply of /v1. Credentials are sent in headers, never in cookies, so pages of any origin may read
 * the answers.
 */
export function headersOfEveryReply(requestId: string): Record<string, string> {
  return {
    "x-request-id": requestId,
    "access-control-allow-origin": "*",
    "access-control-expose-headers": EXPOSED,
    // Answers concern one user's money, and prices change: neither may be kept in a cache.
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
  };
}

const EXPOSED =
  "X-Request-Id, Request-Id, X-Quota-Max-Tokens, X-Quota-Simulated, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, Retry-After, Retry-After-Ms, Idempotency-Replayed";
