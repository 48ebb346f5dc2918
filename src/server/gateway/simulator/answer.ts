/** Composes answers by rules from the last user message; no model is called. */

import { createHash, randomBytes } from "node:crypto";
import { ApiError } from "./fields.ts";
import type { ChatMessage, ChatRequest, FunctionTool } from "./request.ts";
import { type SampleHints, sampleForSchema, UnusableSchemaError } from "./schema-sample.ts";

export interface ToolCall {
  id: string;
  name: string;
  /** JSON text. */
  arguments: string;
}

export type Answer = { kind: "text"; text: string } | { kind: "calls"; calls: ToolCall[] };

/**
 * The whole answer for one choice, before `stop` and the token limit cut it.
 * The same messages, seed and choice give the same answer, except for the ids of calls, which are random.
 *
 * @throws ApiError 400 if a function's or the response format's schema allows no value.
 */
export function composeAnswer(request: ChatRequest, choice: number): Answer {
  const turn = readTurn(request, choice);
  const functions = functionsToCall(request, turn);
  if (functions.length > 0) return { kind: "calls", calls: functions.map((tool) => callOf(tool, turn)) };
  if (request.format.type === "json_schema") {
    return { kind: "text", text: jsonSample(request.format.schema, turn, "response_format") };
  }
  const text = turn.results.length > 0 ? aboutResults(turn) : aboutMessage(turn);
  if (request.format.type === "text") return { kind: "text", text };
  return { kind: "text", text: JSON.stringify({ topic: turn.topic, message: text, simulated: true }) };
}

/** A test hook of the README: a line of the last user message that begins with "simulate:". */
export type Directive =
  | { kind: "error"; status: number }
  | { kind: "slow"; milliseconds: number }
  | { kind: "long"; tokens: number }
  | { kind: "disconnect" }
  | { kind: "call"; call: ToolCall };

/** Undefined for ordinary messages and for directives with a number out of bounds. */
export function readDirective(request: ChatRequest): Directive | undefined {
  const text = lastUserMessage(request)?.text ?? "";
  // Any line may begin with a directive, because clients put their own text before the user's.
  const found = /^[ \t]*simulate:\s*(error|slow|long|disconnect)\b\s*(\d{0,9})/im.exec(text.slice(0, MOST_READ));
  if (!found) return readCall(request, text);
  const number = Number(found[2]);
  switch (found[1]?.toLowerCase()) {
    case "error":
      return number >= 400 && number <= 599 ? { kind: "error", status: number } : undefined;
    case "slow":
      return { kind: "slow", milliseconds: Math.min(number, MAX_SLOW_MS) };
    case "long":
      return number > 0 ? { kind: "long", tokens: Math.min(number, MAX_LONG_TOKENS) } : undefined;
    default:
      return { kind: "disconnect" };
  }
}

/** `simulate: call NAME {…}`: a call of that function with these arguments. Undefined after the function's result, so that the answer is text. */
function readCall(request: ChatRequest, text: string): Directive | undefined {
  const found = /^[ \t]*simulate:\s*call\s+([\w.-]{1,128})\s*(\{.*)$/im.exec(text);
  const name = found?.[1];
  if (found === null || name === undefined || resultsAtEnd(request.messages).length > 0) return undefined;
  if (!request.tools.some((tool) => tool.name === name)) return undefined;
  const object = jsonObjectAtStart(found[2] ?? "");
  return object === null ? undefined : { kind: "call", call: { id: callId(), name, arguments: object } };
}

/** The JSON object at the start of a text, without the text after it. Null when there is none. */
function jsonObjectAtStart(text: string): string | null {
  for (let end = text.lastIndexOf("}"); end > 0; end = text.lastIndexOf("}", end - 1)) {
    try {
      JSON.parse(text.slice(0, end + 1));
      return text.slice(0, end + 1);
    } catch {
      if (text.length > MOST_READ) return null;
    }
  }
  return null;
}

/** Sentences of at least `tokens` tokens, for `simulate: long`. */
export function composeLongText(tokens: number): string {
  const sentences: string[] = [];
  // Every sentence has more than ten tokens.
  for (let number = 1; number <= tokens / 10 + 1; number += 1) {
    sentences.push(`Sentence ${number} of this simulated text only fills the length that was asked for.`);
  }
  return sentences.join(" ");
}

const MAX_SLOW_MS = 600_000;
const MAX_LONG_TOKENS = 32_768;

/** The rules read this many characters of a message, because patterns run in the process of the gateway. */
const MOST_READ = 20_000;

interface Turn {
  seed: number;
  /** The last user message without a directive at its start. */
  userText: string;
  /** `userText`, cut to a few words. */
  topic: string;
  attachments: string[];
  /** The tool messages at the end of the conversation. */
  results: { name: string; text: string }[];
  place: string | undefined;
}

function readTurn(request: ChatRequest, choice: number): Turn {
  const hash = createHash("sha256").update(JSON.stringify([request.seed, choice]));
  for (const message of request.messages) hash.update(`\0${message.role}\0${message.text}`);
  const last = lastUserMessage(request);
  const text = last?.text ?? "";
  const userText = text
    .slice(0, MOST_READ)
    .replace(/^\s*simulate:\s*\w+\s*\d*\s*/i, "")
    .trim();
  return {
    seed: hash.digest().readUInt32BE(0),
    userText,
    topic: topicOf(userText),
    attachments: last?.attachments ?? [],
    results: resultsAtEnd(request.messages),
    place: /\b(?:in|at|to|for|from|near)\s+(\p{Lu}[\p{L}'-]*(?:\s+\p{Lu}[\p{L}'-]*){0,2})/u.exec(userText)?.[1],
  };
}

function lastUserMessage(request: ChatRequest): ChatMessage | undefined {
  return request.messages.findLast((message) => message.role === "user");
}

function resultsAtEnd(messages: ChatMessage[]): Turn["results"] {
  const start = messages.findLastIndex((message) => message.role !== "tool") + 1;
  const calls = messages.flatMap((message) => message.toolCalls);
  return messages.slice(start).map((message) => ({
    name: calls.findLast((call) => call.id === message.toolCallId)?.name ?? "tool",
    text: message.text,
  }));
}

const POLITENESS =
  /^(?:(?:please|hi|hello|hey|so|ok|okay|well|now)[,!.]?\s+|(?:can|could|would|will) you (?:please )?|i(?:'d| would) like (?:you )?to (?:know (?:about )?)?|tell me (?:(?:more |something )?about )?|explain (?:to me )?|describe |what(?:'s| is| are) |who(?:'s| is| was) )/i;

/** A message's first sentence without polite phrases, cut to 12 words and 90 characters. */
export function topicOf(userText: string): string {
  let rest = userText.slice(0, 500).replace(/\s+/g, " ").trim();
  for (let shorter = rest.replace(POLITENESS, ""); shorter !== rest && shorter !== ""; ) {
    rest = shorter;
    shorter = rest.replace(POLITENESS, "");
  }
  const sentence = /^.*?[^\s.!?](?=[.!?](?:\s|$))/.exec(rest)?.[0] ?? rest;
  const words = sentence.split(" ");
  const short = words.length > 12 ? `${words.slice(0, 12).join(" ")}…` : sentence;
  const points = Array.from(short.replace(/[\s.!?,;:"]+$/, ""));
  return (points.length > 90 ? `${points.slice(0, 90).join("")}…` : points.join("")) || "your message";
}

function functionsToCall(request: ChatRequest, turn: Turn): FunctionTool[] {
  const { tools, toolChoice } = request;
  if (toolChoice.mode === "none" || tools.length === 0) return [];
  const allowed = tools.filter((tool) => toolChoice.only === undefined || tool.name === toolChoice.only);
  const mustCall = toolChoice.mode === "required";
  // Without this, "auto" would call the same function after each result: the user's message still mentions the function.
  if (!mustCall && turn.results.length > 0) return [];
  const byName = allowed.filter((tool) => mentions(turn.userText, nameWords(tool.name)));
  const matching = byName.length > 0 ? byName : allowed.filter((tool) => mentions(turn.userText, keywords(tool.description)));
  const chosen = matching.length === 0 && mustCall ? allowed.slice(0, 1) : matching;
  return request.parallelToolCalls ? chosen : chosen.slice(0, 1);
}

/** Words in the names and descriptions of many kinds of functions, which therefore do not select one. */
const GENERAL_WORDS = new Set(
  (
    "get set fetch do run call make create update delete remove add list show find search look lookup read write send check use tool function api the " +
    "and for with from into that this your their given current currently return returns returned value values result results data information " +
    "about specific specified using based provide provides provided number string object array called when which what where user users name " +
    "request response should would could will other some any all new item items please tell"
  ).split(" "),
);

function nameWords(name: string): Set<string> {
  const words = wordsOf(name.replace(/([a-z0-9])([A-Z])/g, "$1 $2"));
  const specific = words.filter((word) => word.length > 2 && !GENERAL_WORDS.has(word));
  return new Set(specific.length > 0 ? specific : words);
}

function keywords(description: string): Set<string> {
  return new Set(wordsOf(description).filter((word) => word.length > 4 && !GENERAL_WORDS.has(word)));
}

function mentions(userText: string, words: Set<string>): boolean {
  return wordsOf(userText).some((word) => words.has(word));
}

/** Lower-case words without a plural s. */
function wordsOf(text: string): string[] {
  const words =
    text
      .slice(0, 20_000)
      .toLowerCase()
      .match(/\p{L}[\p{L}\p{N}]*/gu) ?? [];
  return words.map((word) => (word.length > 3 ? word.replace(/(?<!s)s$/, "") : word));
}

function callOf(tool: FunctionTool, turn: Turn): ToolCall {
  return {
    id: callId(),
    name: tool.name,
    arguments: jsonSample(tool.parameters, turn, tool.param),
  };
}

function callId(): string {
  return `call_${randomBytes(18).toString("base64url").replace(/[-_]/g, "0")}`;
}

function jsonSample(schema: unknown, turn: Turn, param: string): string {
  const hints: SampleHints = { seed: turn.seed, topic: turn.topic, place: turn.place };
  try {
    return JSON.stringify(sampleForSchema(schema, hints));
  } catch (error) {
    if (!(error instanceof UnusableSchemaError)) throw error;
    throw new ApiError(400, `Invalid schema for '${param}': ${error.message}`, { param, code: "invalid_json_schema" });
  }
}

function aboutResults(turn: Turn): string {
  const sentences = turn.results.map((result) => `The result of ${result.name} says: ${resultText(result.text)}.`);
  const close = pick(turn, "close", [
    "A real model would put this in better words, but I am only the simulator.",
    "I am the built-in simulator, so I repeat the result and no model was called.",
    "No model was called for this answer; the simulator read the result as it is.",
  ]);
  return [...sentences, close].join(" ");
}

/** A JSON object as "key value, key value" and other text without its final full stops, cut to 300 characters. */
function resultText(text: string): string {
  const short = (long: string) => (long.length > 300 ? `${Array.from(long.slice(0, 300)).slice(0, -1).join("")}…` : long);
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    // The text is cut before the pattern runs, because the pattern takes quadratic time.
    return short(
      text
        .trim()
        .slice(0, 400)
        .replace(/[.\s]+$/, "") || "nothing",
    );
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) return short(text.trim());
  const entries = Object.entries(parsed).slice(0, 12);
  const shown = entries.map(([key, value]: [string, unknown]) => {
    const plain = Array.isArray(value) ? `with ${value.length} items` : typeof value === "object" && value ? "with details" : String(value);
    return `${key.replace(/_/g, " ")} ${plain}`;
  });
  return short(shown.join(", ") || "nothing");
}

function aboutMessage(turn: Turn): string {
  const opening = turn.userText === "" ? openingWithoutText(turn) : openingFor(turn);
  return [opening, ...aboutAttachments(turn), simulatorNotice(turn), closing(turn)].join(" ");
}

function openingWithoutText(turn: Turn): string {
  return turn.attachments.length > 0 ? "Thank you for what you sent." : "There is no text in your message yet.";
}

function openingFor(turn: Turn): string {
  const { userText, topic } = turn;
  if (/^(?:hi|hello|hey|good (?:morning|afternoon|evening|day)|greetings|hallo|bonjour|hola|ciao)\b[^?]{0,40}$/i.test(userText)) {
    return pick(turn, "greeting", ["Hello! It is nice to meet you.", "Hello there, and welcome!", "Hi! Good to hear from you."]);
  }
  if (/^(?:thanks|thank you|thx|cheers)\b/i.test(userText)) {
    return pick(turn, "thanks", ["You are welcome!", "With pleasure!", "Glad to help."]);
  }
  if (/^(?:write|compose|draft|create|make|generate|summari[sz]e|translate|list|give|show|build|rewrite|fix|add)\b/i.test(topic)) {
    return pick(turn, "task", [
      `You would like me to ${lowerFirst(topic)}.`,
      `I understand the task: "${topic}".`,
      `Your request to ${lowerFirst(topic)} has arrived.`,
    ]);
  }
  if (/\?\s*$|^(?:what|who|why|when|where|which|how|is|are|do|does|did|can|could|should)\b/i.test(userText)) {
    return pick(turn, "question", [
      `You asked about "${topic}", which is a good question.`,
      `Your question is about "${topic}".`,
      `Good question: "${topic}".`,
    ]);
  }
  return pick(turn, "statement", [
    `You wrote about "${topic}".`,
    `I see that this is about "${topic}".`,
    `Thank you for telling me about "${topic}".`,
  ]);
}

const ATTACHMENT_NAMES: Record<string, string> = {
  image_url: "image",
  input_audio: "audio clip",
  file: "file",
  video_url: "video",
};

function aboutAttachments(turn: Turn): string[] {
  if (turn.attachments.length === 0) return [];
  const counts = new Map<string, number>();
  for (const type of turn.attachments) {
    const name = (Object.hasOwn(ATTACHMENT_NAMES, type) ? ATTACHMENT_NAMES[type] : undefined) ?? "attachment";
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  const parts = [...counts].map(([name, many]) => `${many} ${name}${many > 1 ? "s" : ""}`);
  return [`Your message came with ${parts.join(" and ")}, which I received but cannot look into.`];
}

/** Says that no model was called. The purpose stays "honesty", because another one would choose other texts for the same seeds. */
function simulatorNotice(turn: Turn): string {
  return pick(turn, "honesty", [
    "I am the built-in simulator, so no model was called to answer you.",
    "This answer comes from the simulator; no model was called.",
    "Please note that I am only the simulator and no model was called for this.",
    "No model was called here: I am the simulator that answers while no provider is set up.",
  ]);
}

function closing(turn: Turn): string {
  return pick(turn, "closing", [
    "Once a provider key is set, a real model answers in my place.",
    "Everything else, from streaming to billing, works as it will with a real model.",
    "With a provider key in the settings you would read a real answer here.",
    "You can keep building your app against me in the meantime.",
  ]);
}

/** One of the texts, chosen by a hash of the turn's seed and `purpose`, so that choices for different purposes are independent. */
function pick(turn: Turn, purpose: string, texts: readonly string[]): string {
  const hash = createHash("sha256").update(`${turn.seed} ${purpose}`).digest();
  return texts[hash.readUInt32BE(0) % texts.length] ?? "";
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}
