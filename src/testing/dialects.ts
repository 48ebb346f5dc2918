import fc from "fast-check";
import { chatCompletions } from "../server/gateway/dialects/chat-completions.ts";
import { ChatMeter } from "../server/gateway/dialects/chat-meter.ts";
import type { CompletionRequest, Dialect } from "../server/gateway/dialects/dialect.ts";
import type { EventMeter } from "../server/gateway/dialects/event-meter.ts";
import { messages } from "../server/gateway/dialects/messages.ts";
import { MessagesMeter } from "../server/gateway/dialects/messages-meter.ts";
import { responses } from "../server/gateway/dialects/responses.ts";
import { ResponsesMeter } from "../server/gateway/dialects/responses-meter.ts";
import { eventData, eventsIn, parseData } from "../server/gateway/dialects/server-sent-events.ts";
import { AppError } from "../server/platform/errors.ts";
import {
  chunk,
  completionChunks,
  delta,
  event,
  messageEvents,
  messageUsage,
  namedEvent,
  responseEvents,
  responseUsage,
  usage,
} from "./upstream-answers.ts";

/** The dialects of conversations, for suites that test each of them for the same guarantees. */
export type DialectCase = {
  name: string;
  dialect: Dialect;
  /** Members of a minimal request. */
  least: Readonly<Record<string, unknown>>;
  /** The member that has the conversation, and the one that limits the output. */
  conversation: string;
  limit: string;
  /** A user's message with these parts, as members of a request. */
  says(...parts: readonly (string | object)[]): object;
  /** An image with this base64 data, as a part of a user's message. */
  image(data: string): object;
  /** The image in the result of a tool, where the API allows images there. */
  imageInResult?(data: string): object;
  /** The greatest number of tokens of an image, for the minimal request's model. */
  imageBound: number;
  /** A document, whose tokens only the provider can count, as a part of a user's message. */
  document: object;
  meter(): EventMeter;
  /** The events of a whole stream that delivers these texts. */
  events(texts: readonly string[]): string[];
  /** Events that report a failure, with the status that each stands for. */
  failures: readonly (readonly [event: string, status: number | null])[];
  /** Complete streams, in every form that the API allows. */
  anyStream: fc.Arbitrary<{ bytes: Buffer }>;
  /** Events of any shape, similar to those that the meter reads. */
  anyEvent: fc.Arbitrary<unknown>;
  /** The text that an event delivers. */
  textOf(data: Readonly<Record<string, unknown>>): string;
};

const deliveredText = (special: readonly string[]) =>
  fc.oneof(fc.string({ unit: "binary", maxLength: 12 }), fc.constantFrom("🦊", "é", "\n\n", "\r\n\r\n", ...special));

const withNewlines = (stream: string, newline: string) => Buffer.from(newline === "\n" ? stream : stream.replaceAll("\n", "\r\n"));
const spaced = (json: string) => json.replace(/(?<!\\)":/g, '" : ');

/** Streams of chat completions: with the usage in each of the places where providers send it, and up to three choices. */
export const anyChatStream = fc
  .record({
    texts: fc.array(deliveredText(["[DONE]", '"finish_reason":"stop"', "data: x"]), { maxLength: 5 }),
    finishText: fc.option(deliveredText([]), { nil: undefined }),
    usage: fc.constantFrom("own chunk", "finish chunk", "every chunk", "first chunk", "none"),
    done: fc.boolean(),
    comments: fc.boolean(),
    newline: fc.constantFrom("\n", "\r\n", "\r"),
    spaced: fc.boolean(),
    failure: fc.boolean(),
    choices: fc.integer({ min: 1, max: 3 }),
    lastNewline: fc.boolean(),
  })
  .map((shape) => {
    const used = { usage: usage(10, 5) };
    const inAll = shape.usage === "every chunk" ? used : {};
    const objects: object[] = shape.texts.map((content, index) =>
      chunk([delta({ content }, { index: index % shape.choices })], shape.usage === "first chunk" && index === 0 ? used : inAll),
    );
    if (shape.failure) objects.push({ error: { message: "broke", code: 500 } });
    for (let index = 0; index < shape.choices; index++) {
      objects.push(
        chunk(
          [delta(shape.finishText === undefined ? {} : { content: shape.finishText }, { index, finishReason: "stop" })],
          shape.usage === "finish chunk" ? used : inAll,
        ),
      );
    }
    if (shape.usage === "own chunk" || shape.usage === "every chunk") objects.push(chunk([], used));
    const write = (object: object) => (shape.spaced ? spaced(JSON.stringify(object)) : JSON.stringify(object));
    const parts = objects.flatMap((object) => [...(shape.comments ? [": ping\n\n"] : []), `data: ${write(object)}\n\n`]);
    if (shape.done) parts.push("data: [DONE]\n\n");
    const stream = shape.lastNewline ? parts.join("") : parts.join("").trimEnd();
    return { shape, bytes: withNewlines(stream, shape.newline) };
  });

/** Streams of messages, with or without their end, and a failure. */
export const anyMessagesStream = fc
  .record({
    texts: fc.array(deliveredText(['"type":"message_stop"', "event: error"]), { maxLength: 5 }),
    newline: fc.constantFrom("\n", "\r\n", "\r"),
    stop: fc.boolean(),
    failure: fc.boolean(),
    comments: fc.boolean(),
  })
  .map(({ texts, newline, stop, failure, comments }) => {
    const objects = messageEvents(texts, { usage: messageUsage(7, 5, { read: 2, written: 1 }) });
    if (!stop) objects.pop();
    if (failure) objects.splice(3, 0, { type: "error", error: { type: "overloaded_error", message: "secret" } });
    const stream = objects.map((each) => (comments ? ": ping\n\n" : "") + namedEvent(each)).join("");
    return { failure, stop, bytes: withNewlines(stream, newline) };
  });

/** Streams of responses with each of their ends. */
export const anyResponsesStream = fc
  .record({
    texts: fc.array(deliveredText(['"type":"response.completed"', "[DONE]", "event: error"]), { maxLength: 5 }),
    newline: fc.constantFrom("\n", "\r\n", "\r"),
    status: fc.constantFrom("completed", "incomplete", "failed"),
    done: fc.boolean(),
    comments: fc.boolean(),
    spaced: fc.boolean(),
  })
  .map((shape) => {
    const objects = responseEvents(shape.texts, { status: shape.status, usage: responseUsage(10, 5, { cached: 4, written: 2 }) });
    const write = (each: object) => (shape.spaced ? spaced(namedEvent(each)) : namedEvent(each));
    const whole = objects.map((each) => (shape.comments ? ": ping\n\n" : "") + write(each));
    const before = whole.slice(0, -1).join("") + (shape.comments ? ": ping\n\n" : "");
    return {
      status: shape.status,
      /** The text before the last event. */
      before: withNewlines(before, shape.newline).toString(),
      bytes: withNewlines(whole.join("") + (shape.done ? "data: [DONE]\n\n" : ""), shape.newline),
    };
  });

const chatCase: DialectCase = {
  name: "chat completions",
  dialect: chatCompletions,
  least: { model: "gpt-4o-mini", messages: [{ role: "user", content: "hi" }] },
  conversation: "messages",
  limit: "max_tokens",
  says: (...parts) => ({
    messages: [{ role: "user", content: parts.map((part) => (typeof part === "string" ? { type: "text", text: part } : part)) }],
  }),
  image: (data) => ({ type: "image_url", image_url: { url: `data:image/png;base64,${data}` } }),
  imageBound: 2_833 + 8 * 5_667,
  document: { type: "file", file: { filename: "a.pdf", file_data: "data:application/pdf;base64,AAAA" } },
  meter: () => new ChatMeter({ includeUsage: false }),
  events: (texts) => [...completionChunks(texts, { usage: usage(10, 5) }).map(event), event("[DONE]")],
  failures: [
    [event({ error: { message: "secret", code: 429 } }), 429],
    [event({ error: { message: "secret", code: "server_error" } }), null],
  ],
  anyStream: anyChatStream,
  anyEvent: fc.record({ choices: fc.jsonValue(), usage: fc.jsonValue(), error: fc.constantFrom(null, undefined) }),
  textOf: ({ choices }) => ((choices ?? []) as { delta?: { content?: string } }[]).map((each) => each.delta?.content ?? "").join(""),
};

const messagesCase: DialectCase = {
  name: "messages",
  dialect: messages,
  least: { model: "claude-haiku-4-5", max_tokens: 100, messages: [{ role: "user", content: "hi" }] },
  conversation: "messages",
  limit: "max_tokens",
  says: chatCase.says,
  image: (data) => ({ type: "image", source: { type: "base64", media_type: "image/png", data } }),
  imageInResult: (data) => ({
    messages: [{ role: "user", content: [{ type: "tool_result", tool_use_id: "t", content: [messagesCase.image(data)] }] }],
  }),
  imageBound: 1_600,
  document: { type: "document", source: { type: "base64", media_type: "application/pdf", data: "AAAA" } },
  meter: () => new MessagesMeter(),
  events: (texts) => messageEvents(texts).map(namedEvent),
  failures: [
    [namedEvent({ type: "error", error: { type: "overloaded_error", message: "secret" } }), null],
    [namedEvent({ type: "error", error: { type: "rate_limit_error", message: "secret" } }), 429],
    ['event: error\ndata: {"message":"secret"}\n\n', null],
    ['data: {"error":{"message":"secret"}}\n\n', null],
  ],
  anyStream: anyMessagesStream,
  anyEvent: fc.record({
    type: fc.constantFrom("message_start", "message_delta", "content_block_start", "content_block_delta", "other"),
    message: fc.jsonValue(),
    usage: fc.jsonValue(),
    delta: fc.jsonValue(),
  }),
  textOf: (data) => (data.delta as { text?: string } | undefined)?.text ?? "",
};

const failed = (error: object) => namedEvent({ type: "response.failed", response: { status: "failed", error } });

const responsesCase: DialectCase = {
  name: "responses",
  dialect: responses,
  least: { model: "gpt-4o-mini", input: "hi" },
  conversation: "input",
  limit: "max_output_tokens",
  says: (...parts) => ({
    input: [{ role: "user", content: parts.map((part) => (typeof part === "string" ? { type: "input_text", text: part } : part)) }],
  }),
  image: (data) => ({ type: "input_image", detail: "auto", image_url: `data:image/png;base64,${data}` }),
  imageInResult: (data) => ({ input: [{ type: "function_call_output", call_id: "c", output: [responsesCase.image(data)] }] }),
  imageBound: chatCase.imageBound,
  document: { type: "input_file", filename: "a.pdf", file_data: "data:application/pdf;base64,AAAA" },
  meter: () => new ResponsesMeter(),
  events: (texts) => responseEvents(texts).map(namedEvent),
  failures: [
    [failed({ code: "server_error", message: "secret" }), null],
    [failed({ code: "rate_limit_exceeded", message: "secret" }), 429],
    [namedEvent({ type: "error", code: "server_error", message: "secret", param: null, sequence_number: 4 }), null],
    [namedEvent({ type: "error", code: "rate_limit_exceeded", message: "secret", param: null }), 429],
    ['event: error\ndata: {"error":{"message":"secret","code":429}}\n\n', 429],
    ['data: {"error":{"message":"secret"}}\n\n', null],
  ],
  anyStream: anyResponsesStream,
  anyEvent: fc.record({
    type: fc.constantFrom(
      "response.created",
      "response.completed",
      "response.failed",
      "response.output_text.delta",
      "response.output_item.added",
    ),
    response: fc.jsonValue(),
    item: fc.jsonValue(),
    delta: fc.jsonValue(),
  }),
  textOf: ({ type, delta }) => (type === "response.output_text.delta" ? String(delta) : ""),
};

export const dialectCases: readonly DialectCase[] = [chatCase, messagesCase, responsesCase];

/** Reads a dialect's minimal request with these further members. */
export function readWith({ dialect, least }: DialectCase, rest: object = {}, headers: Record<string, string> = {}): CompletionRequest {
  return dialect.read(JSON.stringify({ ...least, ...rest }), (name) => headers[name] ?? null);
}

/** The error that a reader throws. */
export function refusalOf(read: () => unknown): AppError {
  try {
    read();
  } catch (error) {
    if (error instanceof AppError) return error;
    throw error;
  }
  throw new Error("it was accepted");
}

/** The JSON objects of a stream's events. */
export function dataOf(stream: string): Record<string, unknown>[] {
  return eventsIn(stream).flatMap((each) => {
    const data = eventData(each);
    const parsed = data === null ? null : parseData(data);
    return parsed === null ? [] : [parsed];
  });
}
