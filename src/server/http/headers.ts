/**
 * Headers of every reply of /v1. Credentials are sent in headers, never in cookies, so pages of any origin may read
 * the answers.
 */
export function headersOfEveryReply(requestId: string): Record<string, string> {
  return {
    "x-request-id": requestId,
    "access-control-allow-origin": "*",
    "access-control-expose-headers": EXPOSED,
    // No cache may keep an answer: most are about one user's money, and prices change.
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
  };
}

const EXPOSED =
  "X-Request-Id, Request-Id, X-Quota-Max-Tokens, X-Quota-Simulated, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, Retry-After, Retry-After-Ms, Idempotency-Replayed";
