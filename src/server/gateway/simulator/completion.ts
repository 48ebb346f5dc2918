/** Makes a completion of an answer: splits it into tokens, applies limits, and writes it in OpenAI's JSON and chunks. */

import { createHash, randomBytes } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";
import { countPromptTokens, countTextTokens, encodeText, tokenBytes } from "../../pricing/tokens.ts";
import { type Answer, composeAnswer, composeLongText, type Directive } from "./answer.ts";
import { ApiError } from "./fields.ts";
import { type Cached, cached } from "./prompt-cache.ts";
import type { ChatRequest } from "./request.ts";
import { type Thought, thoughtOf } from "./thought.ts";

/** A finished completion. The JSON answer and the stream are both made from its pieces, so they always agree. */
export interface Completion {
  request: ChatRequest;
  id: string;
  /** Seconds since 1970. */
  created: number;
  promptTokens: number;
  /** The prompt tokens that were read from and written into the prompt cache. */
  cached: Cached;
  choices: Choice[];
}

export interface Choice {
  index: number;
  /** The reasoning before the answer. */
  thought?: Thought;
  pieces: Piece[];
  finishReason: "stop" | "length" | "tool_calls";
  /** The stop sequence that the text ends before. */
  stoppedBy?: string;
}

/** The text that one event sends: as a rule, that of one token. */
export type Piece = { tokens: number } & (
  | { kind: "text"; text: string; logprobs: TokenLogprob[] }
  | { kind: "call"; call: number; id: string; name: string }
  | { kind: "arguments"; call: number; text: string }
);

export interface TokenLogprob {
  token: string;
  logprob: number;
  bytes: number[];
  top_logprobs: { token: string; logprob: number; bytes: number[] }[];
}

/** Answers a request. @throws ApiError 400 if a schema in it cannot be used. */
export async function complete(request: ChatRequest, directive: Directive | undefined): Promise<Completion> {
  const choices: Choice[] = [];
  for (let index = 0; index < request.n; index += 1) choices.push(await makeChoice(request, directive, index));
  const promptTokens = await countPromptTokens(request.prompt);
  return {
    request,
    id: `chatcmpl-${randomBytes(22).toString("base64url").replace(/[-_]/g, "0")}`,
    created: Math.floor(Date.now() / 1000),
    promptTokens,
    cached: await cached(request, promptTokens),
    choices,
  };
}

/** The body of an answer that is not streamed. */
export function completionJson(completion: Completion) {
  return {
    id: completion.id,
    object: "chat.completion",
    created: completion.created,
    model: completion.request.model,
    choices: completion.choices.map((choice) => ({
      index: choice.index,
      message: messageOf(choice),
      logprobs: logprobsField(completion, choice.pieces),
      finish_reason: choice.finishReason,
    })),
    usage: usageOf(completion),
    service_tier: SERVICE_TIER,
    system_fingerprint: SYSTEM_FINGERPRINT,
  };
}

/**
 * The chunks of a streamed answer, in order, without the closing [DONE]. The choices take turns.
 * `tokens` is how many were made since the chunk before, by which the sender paces the stream.
 */
export function* completionChunks(completion: Completion): Generator<{ tokens: number; chunk: object }> {
  const chunk = (choices: object[], usage: object | null = null) => ({
    id: completion.id,
    object: "chat.completion.chunk",
    created: completion.created,
    model: completion.request.model,
    service_tier: SERVICE_TIER,
    system_fingerprint: SYSTEM_FINGERPRINT,
    choices,
    ...(completion.request.includeUsage ? { usage } : {}),
  });
  const choiceChunk = (index: number, delta: object, finish_reason: string | null, logprobs: object | null = null) =>
    chunk([{ index, delta, logprobs, finish_reason }]);

  for (const { index, pieces, thought } of completion.choices) {
    const content = pieces[0]?.kind === "call" ? null : "";
    yield { tokens: thought?.tokens ?? 0, chunk: choiceChunk(index, { role: "assistant", content, refusal: null }, null) };
  }
  const longest = Math.max(...completion.choices.map((choice) => choice.pieces.length));
  for (let at = 0; at <= longest; at += 1) {
    for (const { index, pieces, finishReason } of completion.choices) {
      const piece = pieces[at];
      if (piece)
        yield {
          tokens: piece.tokens,
          chunk: choiceChunk(index, deltaOf(piece), null, logprobsField(completion, [piece])),
        };
      else if (at === pieces.length) yield { tokens: 0, chunk: choiceChunk(index, {}, finishReason) };
    }
  }
  if (completion.request.includeUsage) yield { tokens: 0, chunk: chunk([], usageOf(completion)) };
}

const SERVICE_TIER = "default";
const SYSTEM_FINGERPRINT = "fp_simulator";

async function makeChoice(request: ChatRequest, directive: Directive | undefined, index: number): Promise<Choice> {
  // `simulate: long` promises an exact number of tokens, so the answer has no reasoning.
  const thought = directive?.kind === "long" ? undefined : await thoughtOf(request);
  if (thought === undefined) return answered(request, directive, index);
  return { ...(await answered({ ...request, maxTokens: request.maxTokens - thought.tokens }, directive, index)), thought };
}

async function answered(request: ChatRequest, directive: Directive | undefined, index: number): Promise<Choice> {
  if (directive?.kind === "long") {
    const limit = Math.min(directive.tokens, request.maxTokens);
    const { pieces } = await textPieces(composeLongText(directive.tokens), limit, request, index);
    return { index, pieces, finishReason: directive.tokens > request.maxTokens ? "length" : "stop" };
  }
  const answer: Answer = directive?.kind === "call" ? { kind: "calls", calls: [directive.call] } : composeAnswer(request, index);
  if (answer.kind === "text") {
    const { text, stoppedBy } = cutAtStop(answer.text, request.stop);
    const { pieces, isCut } = await textPieces(text, request.maxTokens, request, index);
    return { index, pieces, finishReason: isCut ? "length" : "stop", ...(isCut || stoppedBy === undefined ? {} : { stoppedBy }) };
  }
  const pieces: Piece[] = [];
  let left = request.maxTokens;
  for (const [call, { id, name, arguments: text }] of answer.calls.entries()) {
    const nameTokens = await countTextTokens(name);
    if (nameTokens > left) {
      // A cut name cannot be sent, but its tokens count as output.
      pieces.push({ kind: "text", text: "", logprobs: [], tokens: left });
      return { index, pieces, finishReason: "length" };
    }
    pieces.push({ kind: "call", call, id, name, tokens: nameTokens });
    left -= nameTokens;
    const tokens = await encodeText(text);
    for (const part of await characters(tokens.slice(0, left))) {
      pieces.push({ kind: "arguments", call, text: part.text, tokens: part.bytes.length });
    }
    if (tokens.length > left) return { index, pieces, finishReason: "length" };
    left -= tokens.length;
  }
  return { index, pieces, finishReason: "tool_calls" };
}

function cutAtStop(text: string, stop: string[]): { text: string; stoppedBy: string | undefined } {
  let end = text.length;
  let stoppedBy: string | undefined;
  for (const one of stop) {
    const at = text.indexOf(one);
    if (at < 0 || at >= end) continue;
    end = at;
    stoppedBy = one;
  }
  return { text: text.slice(0, end), stoppedBy };
}

async function textPieces(text: string, limit: number, request: ChatRequest, index: number) {
  const tokens = await encodeText(text);
  const isCut = tokens.length > limit;
  if (request.logprobs && Math.min(tokens.length, limit) * request.n * (request.topLogprobs + 1) > MOST_LOGPROBS)
    throw new ApiError(400, `The simulator makes at most ${MOST_LOGPROBS} log probabilities a request. Ask for fewer.`, {
      param: "top_logprobs",
    });
  let position = 0;
  const pieces: Piece[] = [];
  for (const [at, part] of (await characters(tokens.slice(0, limit))).entries()) {
    if (request.logprobs && at % LOGPROBS_A_TURN === LOGPROBS_A_TURN - 1) await nextTurn();
    const logprobs = request.logprobs ? part.bytes.map((bytes) => logprobOf(bytes, request, index, position++)) : [];
    pieces.push({ kind: "text", text: part.text, logprobs, tokens: part.bytes.length });
  }
  return { pieces, isCut };
}

/** Bounded, because the simulator shares its process with the gateway. */
const MOST_LOGPROBS = 50_000;
/** Tokens between two turns of the event loop: as many take some ten milliseconds. */
const LOGPROBS_A_TURN = 200;

/** Tokens grouped so that each group is whole characters. Tokens of a character that the limit cut have an empty text. */
async function characters(tokens: readonly number[]): Promise<{ text: string; bytes: Uint8Array[] }[]> {
  const groups: { text: string; bytes: Uint8Array[] }[] = [];
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  let open: Uint8Array[] = [];
  for (const bytes of await tokenBytes(tokens)) {
    open.push(bytes);
    const text = decoder.decode(bytes, { stream: true });
    if (text === "") continue;
    groups.push({ text, bytes: open });
    open = [];
  }
  if (open.length > 0) groups.push({ text: "", bytes: open });
  return groups;
}

/** Invented log probabilities, the same for the same tokens: most near 0, some lower. */
function logprobOf(bytes: Uint8Array, request: ChatRequest, index: number, position: number): TokenLogprob {
  const hash = createHash("sha256").update(`${request.seed} ${index} ${position} `).update(bytes).digest();
  const doubt = hash.readUInt16BE(0) / 65_536;
  const logprob = round(Math.log(1 - 0.75 * doubt ** 4));
  const own = { token: tokenText(bytes), logprob, bytes: [...bytes] };
  const top = [own];
  let rest = 1 - Math.exp(logprob);
  const others = ALTERNATIVES.filter((other) => other !== own.token);
  for (let rank = 1; rank < request.topLogprobs; rank += 1) {
    rest = Math.max(rest / 2, 1e-9);
    const token = others[(hash.readUInt8(2) + rank) % others.length] ?? "";
    top.push({
      token,
      logprob: round(Math.min(logprob, Math.log(rest)) - rank / 1000),
      bytes: [...Buffer.from(token)],
    });
  }
  return { ...own, top_logprobs: top.slice(0, request.topLogprobs) };
}

const ALTERNATIVES = " the| a| an| and| to| of| in| is| it| that| for| with| as| on| this| you| I| not| or| be| at| but| we| so".split("|");

function round(value: number): number {
  return Number(value.toPrecision(8)) || 0;
}

/** OpenAI writes tokens that are not whole characters as hexadecimal bytes. */
function tokenText(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return `bytes:${Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("")}`;
  }
}

function messageOf(choice: Choice) {
  const calls: { id: string; type: "function"; function: { name: string; arguments: string } }[] = [];
  let content = "";
  for (const piece of choice.pieces) {
    if (piece.kind === "text") content += piece.text;
    else if (piece.kind === "call") calls.push({ id: piece.id, type: "function", function: { name: piece.name, arguments: "" } });
    else {
      const call = calls[piece.call];
      if (call) call.function.arguments += piece.text;
    }
  }
  const message = { role: "assistant", content: calls.length > 0 ? null : content, refusal: null, annotations: [] };
  return calls.length > 0 ? { ...message, tool_calls: calls } : message;
}

function deltaOf(piece: Piece): object {
  if (piece.kind === "text") return { content: piece.text };
  if (piece.kind === "arguments") return { tool_calls: [{ index: piece.call, function: { arguments: piece.text } }] };
  return {
    tool_calls: [{ index: piece.call, id: piece.id, type: "function", function: { name: piece.name, arguments: "" } }],
  };
}

function logprobsField(completion: Completion, pieces: Piece[]): object | null {
  if (!completion.request.logprobs || pieces.some((piece) => piece.kind !== "text")) return null;
  return { content: pieces.flatMap((piece) => (piece.kind === "text" ? piece.logprobs : [])), refusal: null };
}

/** The output tokens of all choices. */
export function writtenTokens({ choices }: Completion): number {
  return reasonedTokens({ choices }) + choices.flatMap((choice) => choice.pieces).reduce((sum, piece) => sum + piece.tokens, 0);
}

/** How many of these tokens are reasoning. */
export function reasonedTokens({ choices }: Pick<Completion, "choices">): number {
  return choices.reduce((sum, { thought }) => sum + (thought?.tokens ?? 0), 0);
}

function usageOf(completion: Completion) {
  const written = writtenTokens(completion);
  return {
    prompt_tokens: completion.promptTokens,
    completion_tokens: written,
    total_tokens: completion.promptTokens + written,
    prompt_tokens_details: { cached_tokens: completion.cached.read, audio_tokens: 0 },
    completion_tokens_details: {
      reasoning_tokens: reasonedTokens(completion),
      audio_tokens: 0,
      accepted_prediction_tokens: 0,
      rejected_prediction_tokens: 0,
    },
  };
}
