import type { Model } from "../../pricing/models.ts";
import type { CacheWrites, TokenUsage } from "../../pricing/price.ts";
import type { Upstream } from "../providers.ts";
import type { EventMeter } from "./event-meter.ts";
import type { JsonMember, MemberChanges } from "./json-text.ts";

/**
 * One way to ask for an answer. What is bought, held and billed is the same for
 * all of them (`sale.ts`); what differs is here, one object for each.
 */
export type Dialect = {
  /** What comes after the provider's base address. */
  upstreamPath: string;
  /** Reads a request as far as money goes. Throws `bad_request` with the field at fault, or `model_not_found`. */
  read(text: string, header: HeaderReader): CompletionRequest;
  /**
   * A bound of the prompt that is closer than `promptBound`, by tokenizer, counted once for each request; `lane` is
   * the app in whose turn. It is `promptBound` itself when the prompt is too long to be worth it, and when there is no
   * time to count it now, which `couldNotCount` tells.
   */
  closerPromptBound(request: CompletionRequest, lane: string): Promise<number>;
  /** The prompt's tokens, as near as they can be told without the provider. Counted once for each request. */
  countPrompt(request: CompletionRequest, lane: string): Promise<number>;
  /** What goes to the provider beside the body. */
  headers(request: CompletionRequest, upstream: Upstream): Readonly<Record<string, string>>;
  /** Members of the body that billing has to change. `outputLimit` is null when the app's own stands. */
  changes(request: CompletionRequest, upstream: Upstream, outputLimit: number | null): MemberChanges;
  /** Some providers report a failure with status 200. */
  isAnswer(answer: Body): boolean;
  /** What a JSON answer says was used; null when it does not say. */
  readUsage(answer: Body): TokenUsage | null;
  /** The output tokens of a JSON answer, by tokenizer. */
  countAnswer(answer: Body, lane: string): Promise<number>;
  /** Watches one stream, puts `quota` at its end, and tells of a failure in it. */
  watch(request: CompletionRequest, lane: string): EventMeter;
};

/** The JSON object of a request, or one in it. */
export type Body = Readonly<Record<string, unknown>>;

export type HeaderReader = (name: string) => string | null;

/** A request that the gateway understands as far as money goes; the rest is the provider's business. */
export type CompletionRequest = {
  text: string;
  body: Body;
  members: ReadonlyMap<string, JsonMember>;
  model: Model;
  stream: boolean;
  choices: number;
  /** Output tokens of one choice that the request names, at most the model's; null when it names none. */
  askedOutput: number | null;
  /** The client chose to name it; where a limit has to be named, it says little about the answer. */
  limitIsOwn: boolean;
  /** Fields that carry that limit. */
  outputLimitFields: readonly string[];
  /** Output tokens that a lowered limit must still leave; below it there is no answer worth its price. */
  leastOutput: number;
  parts: Parts;
  /** Tokens that the provider puts in front of the prompt, at most. */
  instructions: number;
  /** No prompt of this body has more tokens. */
  promptBound: number;
  /** What the provider may write of it into a prompt cache. */
  cacheWrites: CacheWrites;
  /** Text that the request predicts, in bytes: what the model rejects of it is billed as output. */
  predictionBytes: number;
  /** What it costs can't be counted from the outside: there is hidden reasoning, or more than plain text. */
  onlyProviderCounts: boolean;
  /** Headers of the app that go on to the provider. */
  headers: Readonly<Record<string, string>>;
};

/** What of a prompt is not text. */
export type Parts = {
  images: number;
  audio: number;
  /** Strings of the body that are data of images; they are not billed by their bytes. Such a string in the text of a message is. */
  imageData: string[];
  /** Something whose tokens nobody here can bound: a file that only the provider knows, a document of pages. */
  unbounded: boolean;
};

/** Output tokens that a lowered limit must still leave. */
export const LEAST_OUTPUT = 16;
