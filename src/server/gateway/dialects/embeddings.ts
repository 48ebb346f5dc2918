import { mostTokens } from "../../pricing/bound.ts";
import { countTextTokens } from "../../pricing/tokens.ts";
import { ChatMeter } from "./chat-meter.ts";
import { type CompletionRequest, type Dialect, LEAST_OUTPUT } from "./dialect.ts";
import { boundTokens, memoized, noParts } from "./prompt.ts";
import { badRequest, pricedFields, readCommon } from "./read.ts";
import { readUsage } from "./usage.ts";

/** OpenAI's embeddings API. Only input tokens are billed, and answers are not streamed. */
export const embeddings: Dialect = {
  upstreamPath: "/embeddings",
  read,
  closerPromptBound: memoized(async (request, lane) => {
    const tokens = await boundTokens(request, lane, JSON.stringify(request.body.input));
    return tokens === null ? request.promptBound : Math.min(request.promptBound, tokens);
  }),
  countPrompt: memoized(({ body }, lane) => countTextTokens(JSON.stringify(body.input), { lane })),
  headers: (_request, upstream) => upstream.headers,
  changes: () => ({}),
  isAnswer: ({ data }) => Array.isArray(data) && data.length > 0,
  readUsage: ({ usage }) => readUsage(usage),
  countAnswer: async () => 0,
  watch: () => new ChatMeter({ includeUsage: false }),
};

const PRICED = pricedFields(["model", "input", "stream", "service_tier"]);

function read(text: string): CompletionRequest {
  const common = readCommon(text, PRICED, "embedding");
  if (!isEmbeddable(common.body.input)) throw badRequest("input", "`input` must be text, a list of texts, or tokens.");
  return {
    ...common,
    choices: 1,
    askedOutput: 0,
    isLimitChosen: true,
    outputLimitFields: [],
    leastOutput: LEAST_OUTPUT,
    parts: noParts(),
    instructions: 0,
    // The model's context length bounds each input, not their sum.
    promptBound: mostTokens(text),
    cacheWrites: "none",
    predictionBytes: 0,
    onlyProviderCounts: false,
    headers: {},
  };
}

/** Whether the input is a text, texts, tokens, or lists of tokens. Images and other inputs have prices of their own. */
function isEmbeddable(input: unknown): boolean {
  if (!Array.isArray(input)) return typeof input === "string" && input !== "";
  const isToken = (value: unknown) => Number.isSafeInteger(value);
  const kinds = [(value: unknown) => typeof value === "string", isToken, (value: unknown) => Array.isArray(value) && value.every(isToken)];
  return input.length > 0 && kinds.some((isKind) => input.every(isKind));
}
