import { worstCase } from "../pricing/price.ts";
import { type CompletionRequest, LEAST_OUTPUT } from "./dialects/dialect.ts";

/**
 * How many credits one request holds. An output limit that the client chose is held in
 * full. Where the client named none, or its API requires one, a share is held, so that a
 * wallet serves several requests at once. A stream of text always takes a small share, and
 * its hold grows while it runs (`growth.ts`).
 */

/** Base costs, in credits; each at least 1, because a model can be free and a hold can't be empty. */
export type HoldSizes = {
  /** For the longest answer. */
  desired: bigint;
  /** For the shortest answer that is of use. */
  minimum: bigint;
  /** The share, which leaves credits for other requests; between minimum and desired. */
  modest: bigint;
};

/** Output tokens that the share of a growing stream pays for, for one choice. */
const STREAM_SHARE_TOKENS = 1_024;
/** The same for an answer whose hold does not grow: longer than most answers in a conversation. */
const SHARE_TOKENS = 2_048;
/** The same when reasoning may be part of the output. */
const REASONING_SHARE_TOKENS = 4_096;

/** The sizes for a request at this day's prices, when its prompt has at most `promptBound` tokens. */
export function holdSizes(request: CompletionRequest, promptBound: number, day: string): HoldSizes {
  const { model, choices, predictionBytes, cacheWrites } = request;
  const longest = request.askedOutput ?? model.maxOutputTokens;
  const cost = (tokens: number) => {
    const base = worstCase(model, promptBound, Math.min(longest, tokens) * choices + predictionBytes, day, cacheWrites);
    return base > 0n ? base : 1n;
  };
  return {
    desired: cost(longest),
    minimum: cost(request.leastOutput),
    modest: cost(request.isLimitChosen && !growsWhileItRuns(request) ? longest : shareTokens(request)),
  };
}

/**
 * Whether a request's hold can grow while it runs: what a stream has delivered bounds its
 * cost, unless the provider bills output that it does not send.
 */
export function growsWhileItRuns({ stream, onlyProviderCounts }: CompletionRequest): boolean {
  return stream && !onlyProviderCounts;
}

/** `leastOutput` includes a thinking budget, which is used up before the answer begins, so the share is added to it. */
function shareTokens(request: CompletionRequest): number {
  if (growsWhileItRuns(request)) return STREAM_SHARE_TOKENS;
  const { leastOutput, onlyProviderCounts } = request;
  return leastOutput - LEAST_OUTPUT + (onlyProviderCounts ? REASONING_SHARE_TOKENS : SHARE_TOKENS);
}
