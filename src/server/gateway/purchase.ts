import { env } from "#env";
import type { HoldVerdict, Settlement } from "../ledger/hold.ts";
import { unused } from "../ledger/hold.ts";
import type { Tx } from "../platform/db.ts";
import type { CompletionRequest, Dialect } from "./dialects/dialect.ts";
import type { Upstream } from "./providers.ts";

/** One request to the gateway, and what its bill needs. */
export type Purchase = {
  /** UUIDv7 of the request, its hold and its usage record. */
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
   * Writes the answer into the idempotency record, in the transaction that bills it, so
   * that an Idempotency-Key is never billed twice. Not for streams.
   */
  remember?: (tx: Tx, answer: Answer & { kind: "json" }) => Promise<void>;
};

export type Answer =
  | { kind: "json"; headers: Record<string, string>; body: string }
  /** The caller has to read the body to its end or end its iterator: then the stream is billed. */
  | { kind: "stream"; headers: Record<string, string>; body: AsyncIterable<Uint8Array> };

/** What was reserved for a purchase. */
export type Held = Extract<HoldVerdict, { kind: "held" }> & {
  /** The day (UTC) whose prices apply, also when the answer ends after midnight. */
  day: string;
  /** The output limit to send, when it has to be lowered; null to leave the request as it is. */
  outputLimit: number | null;
  /** Upper bound of the prompt's tokens. */
  promptBound: number;
  /** The hold is for a part of what the stream may deliver, and grows while the stream runs. */
  grows: boolean;
};

/** After this time the sweeper may return a hold: the longest request, and a minute to settle it. */
export function holdLifetimeMs(): number {
  return env.QUOTA_REQUEST_TIMEOUT_MS + 60_000;
}

/** The settlement that returns a whole hold. Settlements with a price add it to this. */
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
