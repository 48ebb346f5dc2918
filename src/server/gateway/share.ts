import { worstCase } from "../pricing/price.ts";
import { type CompletionRequest, LEAST_OUTPUT } from "./dialects/dialect.ts";

/**
 * How much of a wallet one request sets aside. A limit of output that the client named
 * itself is held in full, because that is what was asked for. Where it named none, or
 * had to name one, a share is enough, so that a wallet serves several requests at once.
 * A stream of text takes a small share in any case, and more while it runs (`growth.ts`).
 */

/** Base costs, in credits; each at least 1, for a model can be free and a hold can't be empty. */
export type Worth = {
  /** The longest answer. */
  desired: bigint;
  /** The shortest that is worth its price. */
  minimum: bigint;
  /** What leaves others their share; between minimum and desired. */
  modest: bigint;
};

/** Output tokens of one choice of a stream, which gets more while it runs. */
const STREAM_SHARE_TOKENS = 1_024;
/** The same of an answer that comes at once: longer than most answers in a conversation. */
const SHARE_TOKENS = 2_048;
/** The same where much of the output may be reasoning. */
const REASONING_SHARE_TOKENS = 4_096;

/** What the request is worth on this day, when its prompt has at most `promptBound` tokens. */
export function worthOf(request: CompletionRequest, promptBound: number, day: string): Worth {
  const { model, choices, predictionBytes, cacheWrites } = request;
  const longest = request.askedOutput ?? model.maxOutputTokens;
  const cost = (tokens: number) => {
    const base = worstCase(model, promptBound, Math.min(longest, tokens) * choices + predictionBytes, day, cacheWrites);
    return base > 0n ? base : 1n;
  };
  return {
    desired: cost(longest),
    minimum: cost(request.leastOutput),
    modest: cost(request.limitIsOwn && !growsWhileItRuns(request) ? longest : shareTokens(request)),
  };
}

/**
 * What a stream has delivered bounds what it costs, so that it can set more aside as it
 * goes on. Not where there is output that nobody but the provider sees.
 */
export function growsWhileItRuns({ stream, onlyProviderCounts }: CompletionRequest): boolean {
  return stream && !onlyProviderCounts;
}

/** A budget for thinking is used up before the answer begins. */
function shareTokens(request: CompletionRequest): number {
  if (growsWhileItRuns(request)) return STREAM_SHARE_TOKENS;
  const { leastOutput, onlyProviderCounts } = request;
  return leastOutput - LEAST_OUTPUT + (onlyProviderCounts ? REASONING_SHARE_TOKENS : SHARE_TOKENS);
}
