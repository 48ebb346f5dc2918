/**
 * What every reply of /v1 carries. Credentials travel in headers, never in
 * cookies, so any origin may ask and read the answer.
 */
export function headersOfEveryReply(requestId: string): Record<string, string> {
  return {
    "x-request-id": requestId,
    "access-control-allow-origin": "*",
    "access-control-expose-headers": EXPOSED,
    // Answers are about one person's money, and a price list is old tomorrow: nobody on the way keeps any of it.
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
  };
}

const EXPOSED =
  "X-Request-Id, Request-Id, X-Quota-Max-Tokens, X-Quota-Simulated, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, Retry-After, Retry-After-Ms, Idempotency-Replayed";
