import { mostTokens } from "../../pricing/bound.ts";
import { countTextTokens } from "../../pricing/tokens.ts";
import { ChatMeter } from "./chat-meter.ts";
import { type CompletionRequest, type Dialect, LEAST_OUTPUT } from "./dialect.ts";
import { boundTokens, noParts, once } from "./prompt.ts";
import { begin, pricedFields, wrong } from "./read.ts";
import { readUsage } from "./usage.ts";

/** OpenAI's embeddings: input tokens, no output and no stream. */
export const embeddings: Dialect = {
  upstreamPath: "/embeddings",
  read,
  closerPromptBound: once(async (request, lane) => {
    const tokens = await boundTokens(request, lane, JSON.stringify(request.body.input));
    return tokens === null ? request.promptBound : Math.min(request.promptBound, tokens);
  }),
  countPrompt: once(({ body }, lane) => countTextTokens(JSON.stringify(body.input), { lane })),
  headers: (_request, upstream) => upstream.headers,
  changes: () => ({}),
  isAnswer: ({ data }) => Array.isArray(data) && data.length > 0,
  readUsage: ({ usage }) => readUsage(usage),
  countAnswer: async () => 0,
  watch: () => new ChatMeter({ includeUsage: false }),
};

const PRICED = pricedFields(["model", "input", "stream", "service_tier"]);

function read(text: string): CompletionRequest {
  const begun = begin(text, PRICED, "embedding");
  if (!isEmbeddable(begun.body.input)) throw wrong("input", "`input` must be text, a list of texts, or tokens.");
  return {
    ...begun,
    choices: 1,
    askedOutput: 0,
    limitIsOwn: true,
    outputLimitFields: [],
    leastOutput: LEAST_OUTPUT,
    parts: noParts(),
    instructions: 0,
    // Each input has a context of its own, so the model's does not bound their sum.
    promptBound: mostTokens(text),
    cacheWrites: "none",
    predictionBytes: 0,
    onlyProviderCounts: false,
    headers: {},
  };
}

/** A text, texts, tokens, or lists of tokens; what else a provider may embed has prices of its own. */
function isEmbeddable(input: unknown): boolean {
  if (!Array.isArray(input)) return typeof input === "string" && input !== "";
  const isToken = (value: unknown) => Number.isSafeInteger(value);
  const kinds = [(value: unknown) => typeof value === "string", isToken, (value: unknown) => Array.isArray(value) && value.every(isToken)];
  return input.length > 0 && kinds.some((isKind) => input.every(isKind));
}
