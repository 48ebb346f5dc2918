import type { Model } from "../../pricing/models.ts";
import type { CacheWrites, TokenUsage } from "../../pricing/price.ts";
import type { Upstream } from "../providers.ts";
import type { EventMeter } from "./event-meter.ts";
import type { JsonMember, MemberChanges } from "./json-text.ts";

/**
 * The rules of one API: how its requests are read and its answers metered. Holding and
 * billing are the same for all dialects (`sale.ts`).
 */
export type Dialect = {
  /** The path below the provider's base URL. */
  upstreamPath: string;
  /** Reads what a request's cost depends on. Throws `bad_request` that names the wrong field, or `model_not_found`. */
  read(text: string, header: HeaderReader): CompletionRequest;
  /**
   * An upper bound of the prompt's tokens by tokenizer, closer than `promptBound`, counted once for each request. `lane`
   * is the app, for the tokenizer's fair queue. It is `promptBound` itself when the prompt is too long to count, or when
   * the tokenizer is too busy; then `couldNotCount` is true.
   */
  closerPromptBound(request: CompletionRequest, lane: string): Promise<number>;
  /** The prompt's tokens by tokenizer, for answers whose provider does not report them. Counted once for each request. */
  countPrompt(request: CompletionRequest, lane: string): Promise<number>;
  /** The headers of the request to the provider. */
  headers(request: CompletionRequest, upstream: Upstream): Readonly<Record<string, string>>;
  /** Members of the body that have to change for the provider or for billing. `outputLimit` is null when the app's limit stays. */
  changes(request: CompletionRequest, upstream: Upstream, outputLimit: number | null): MemberChanges;
  /** Whether a JSON body is an answer: some providers report a failure with status 200. */
  isAnswer(answer: Body): boolean;
  /** The usage that a JSON answer reports; null when it reports none. */
  readUsage(answer: Body): TokenUsage | null;
  /** The output tokens of a JSON answer, by tokenizer. */
  countAnswer(answer: Body, lane: string): Promise<number>;
  /** A new meter for the stream that answers the request. */
  watch(request: CompletionRequest, lane: string): EventMeter;
};

/** The JSON object of a request, or one in it. */
export type Body = Readonly<Record<string, unknown>>;

export type HeaderReader = (name: string) => string | null;

/** A request with what its cost depends on. The other members of its body go to the provider unread. */
export type CompletionRequest = {
  text: string;
  body: Body;
  members: ReadonlyMap<string, JsonMember>;
  model: Model;
  stream: boolean;
  choices: number;
  /** The request's output limit for one choice, in tokens, at most the model's; null when it names none. */
  askedOutput: number | null;
  /** The client chose to set the limit. Where the API requires one, the limit says little about the answer's length. */
  isLimitChosen: boolean;
  /** The members of the body that set the limit. */
  outputLimitFields: readonly string[];
  /** The least output limit, in tokens, to which a request may be lowered: a shorter answer is of no use. */
  leastOutput: number;
  parts: Parts;
  /** Upper bound of the tokens that the provider adds to the prompt. */
  instructions: number;
  /** Upper bound of the prompt's tokens. */
  promptBound: number;
  /** Whether the provider may write the prompt into its cache, and for how long, because writes have prices of their own. */
  cacheWrites: CacheWrites;
  /** Bytes of the request's `prediction`: predicted tokens that the model rejects are billed as output. */
  predictionBytes: number;
  /** The gateway can't count the tokens, because there is hidden reasoning or input other than text. */
  onlyProviderCounts: boolean;
  /** Headers of the app's request that are passed to the provider. */
  headers: Readonly<Record<string, string>>;
};

/** The parts of a prompt that are not text. */
export type Parts = {
  images: number;
  audio: number;
  /** Strings of the body that are image data, which is not billed by its bytes. An equal string in a message's text is. */
  imageData: string[];
  /** There is a part whose tokens have no bound but the model's context, such as a document. */
  unbounded: boolean;
};

/** The least output limit, in tokens, to which a request without a thinking budget may be lowered. */
export const LEAST_OUTPUT = 16;
