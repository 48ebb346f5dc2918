import { env } from "#env";
import type { HoldVerdict, Settlement } from "../ledger/hold.ts";
import { unused } from "../ledger/hold.ts";
import type { Tx } from "../platform/db.ts";
import type { CompletionRequest, Dialect } from "./dialects/dialect.ts";
import type { Upstream } from "./providers.ts";

/** One completion that somebody wants to buy. */
export type Purchase = {
  /** UUIDv7 of the request; its hold and its usage record have the same. */
  id: string;
  /** SHA-256 of the API key, or of the access token when `byToken`. */
  credentialHash: Uint8Array;
  byToken: boolean;
  externalUserId: string | null;
  /** For the usage record: `/v1/chat/completions`. */
  endpoint: string;
  dialect: Dialect;
  request: CompletionRequest;
  /** Aborts when the client hangs up. */
  signal: AbortSignal;
  /**
   * Writes the answer down in the transaction that bills it, so that an
   * Idempotency-Key is never billed twice. Not for streams.
   */
  remember?: (tx: Tx, answer: Answer & { kind: "json" }) => Promise<void>;
};

export type Answer =
  | { kind: "json"; headers: Record<string, string>; body: string }
  /** Has to be read to its end, or its iterator ended: that is when it is billed. */
  | { kind: "stream"; headers: Record<string, string>; body: AsyncIterable<Uint8Array> };

/** What was reserved for a purchase. */
export type Held = Extract<HoldVerdict, { kind: "held" }> & {
  /** Whose prices hold, from quote to bill, even past midnight. */
  day: string;
  /** The output limit to send, when it has to be lowered; null to leave the request as it is. */
  outputLimit: number | null;
  /** Tokens of the prompt, at most. */
  promptBound: number;
  /** It pays for a part of what the stream may deliver, and grows as the stream goes on. */
  grows: boolean;
};

/** How long a hold may stay open: the longest request, and time to settle it. */
export function holdLifetimeMs(): number {
  return env.QUOTA_REQUEST_TIMEOUT_MS + 60_000;
}

/** The settlement that returns a whole hold; the start of every other one. */
export function nothingUsed(
  purchase: Purchase,
  outcome: Settlement["outcome"],
  upstream: Upstream | null,
  durationMs: number,
  upstreamStatus: number | null = null,
): Settlement {
  return {
    ...unused(purchase.id, outcome, purchase.endpoint),
    provider: upstream?.provider ?? null,
    streamed: purchase.request.stream,
    upstreamStatus,
    durationMs,
  };
}
