/**
 * The built-in simulator: an HTTP provider without a model, compatible with OpenAI and Anthropic.
 * The gateway sends requests to it while no provider key is configured.
 */

import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { type Directive, readDirective } from "./answer.ts";
import { type Completion, complete, completionChunks, completionJson } from "./completion.ts";
import { embeddingsJson } from "./embeddings.ts";
import { ApiError } from "./fields.ts";
import { messageEvents, messageJson, messagesError, readMessagesRequest } from "./messages.ts";
import { type ChatRequest, readChatRequest, readEmbeddingsRequest } from "./request.ts";
import { readResponsesRequest, responseEvents, responseJson } from "./responses.ts";

export interface SimulatorOptions {
  /** Default 127.0.0.1. */
  host?: string;
  /** Default 0: any free port. */
  port?: number;
  /** The pace of streams; default 60. Infinity sends at once. */
  tokensPerSecond?: number;
}

export interface Simulator {
  /** The base URL for a client, such as http://127.0.0.1:41234/v1. */
  url: string;
  /** Stops listening and ends every connection. */
  close(): Promise<void>;
}

/**
 * Starts a simulator. It does not keep the process alive by itself.
 * @throws RangeError for a pace that is not above 0; the error of `listen`, such as EADDRINUSE.
 */
export async function startSimulator(options: SimulatorOptions = {}): Promise<Simulator> {
  const { host = "127.0.0.1", port = 0, tokensPerSecond = 60 } = options;
  if (!(tokensPerSecond > 0)) throw new RangeError("tokensPerSecond must be above 0.");
  const server = createServer((request, response) => void respond(request, response, tokensPerSecond));
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      resolve();
    });
  });
  server.unref();
  server.on("connection", (socket) => socket.unref());
  const address = server.address() as AddressInfo;
  const shownHost = address.family === "IPv6" ? `[${address.address}]` : address.address;
  return {
    url: `http://${shownHost}:${address.port}/v1`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

const MAX_BODY_BYTES = 32 * 1024 * 1024;

/** The models of `GET /v1/models`. Requests may name any other model too. */
const MODELS = ["gpt-5", "gpt-5-mini", "gpt-4o", "gpt-4o-mini", "text-embedding-3-small", "text-embedding-3-large"];
const MODELS_CREATED = 1_735_689_600;

async function respond(request: IncomingMessage, response: ServerResponse, tokensPerSecond: number): Promise<void> {
  const gone = new AbortController();
  response.on("close", () => gone.abort());
  // A write to a closed connection emits an error after "close", which has been handled.
  response.on("error", () => gone.abort());
  response.setHeader("x-request-id", `req_${randomUUID().replaceAll("-", "")}`);
  try {
    await route(request, response, { tokensPerSecond, gone: gone.signal });
  } catch (error) {
    if (gone.signal.aborted) return;
    if (response.headersSent) response.destroy();
    else sendError(response, error);
  }
}

interface Exchange {
  tokensPerSecond: number;
  /** Aborted when the client closes the connection. */
  gone: AbortSignal;
}

async function route(request: IncomingMessage, response: ServerResponse, exchange: Exchange): Promise<void> {
  const path = (request.url ?? "/").replace(/[?#].*$/s, "").replace(/(?<=.)\/$/, "");
  switch (path) {
    case "/v1/chat/completions":
      requireMethod(request, "POST");
      return answer(readChatRequest(await readJson(request)), chatFormat, response, exchange);
    case "/v1/messages":
      requireMethod(request, "POST");
      return inMessagesErrors(async () => answer(readMessagesRequest(await readJson(request)), messagesFormat, response, exchange));
    case "/v1/responses":
      requireMethod(request, "POST");
      return answer(readResponsesRequest(await readJson(request)), responsesFormat, response, exchange);
    case "/v1/embeddings":
      requireMethod(request, "POST");
      return sendJson(response, 200, await embeddingsJson(readEmbeddingsRequest(await readJson(request))));
    case "/v1/models":
      requireMethod(request, "GET");
      return sendJson(response, 200, { object: "list", data: MODELS.map(modelJson) });
  }
  const model = /^\/v1\/models\/([^/]+)$/.exec(path)?.[1];
  if (model === undefined) throw new ApiError(404, `Invalid URL (${request.method} ${path.slice(0, 200)})`);
  requireMethod(request, "GET");
  if (MODELS.includes(model)) return sendJson(response, 200, modelJson(model));
  throw new ApiError(404, `The model '${model.slice(0, 200)}' does not exist`, {
    param: "model",
    code: "model_not_found",
  });
}

function requireMethod(request: IncomingMessage, method: "GET" | "POST"): void {
  if (request.method === method) return;
  throw new ApiError(405, `Only ${method} requests are accepted.`, { code: "method_not_supported" });
}

function modelJson(id: string) {
  return { id, object: "model", created: MODELS_CREATED, owned_by: "simulator" };
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let length = 0;
  // Destroying the request, as a plain for-await does on a throw, would keep the answer 413 from being read.
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_BODY_BYTES) throw new ApiError(413, "The request body is larger than 32 MB.", { code: "request_too_large" });
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString("utf8"));
  } catch {
    throw new ApiError(
      400,
      "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library correctly. " +
        "The API expects a JSON payload, but what was sent was not valid JSON.)",
    );
  }
}

/** How one API writes a completion: as JSON, or as server-sent events. */
interface ResponseFormat {
  json(completion: Completion): object;
  events(completion: Completion): Iterable<{ tokens: number; text: string }>;
}

const chatFormat: ResponseFormat = {
  json: completionJson,
  *events(completion) {
    for (const { tokens, chunk } of completionChunks(completion)) yield { tokens, text: `data: ${JSON.stringify(chunk)}\n\n` };
    yield { tokens: 0, text: "data: [DONE]\n\n" };
  },
};
const messagesFormat: ResponseFormat = { json: messageJson, events: messageEvents };
const responsesFormat: ResponseFormat = { json: responseJson, events: responseEvents };

async function answer(request: ChatRequest, format: ResponseFormat, response: ServerResponse, exchange: Exchange): Promise<void> {
  const directive = readDirective(request);
  if (directive?.kind === "error") throw simulatedError(directive.status);
  if (directive?.kind === "slow") await delay(directive.milliseconds, undefined, { signal: exchange.gone });
  const completion = await complete(request, directive);
  if (request.stream) return stream(completion, format, directive, response, exchange);
  if (directive?.kind === "disconnect") return void response.destroy();
  sendJson(response, 200, format.json(completion));
}

/** Turns errors into Anthropic's envelope. */
async function inMessagesErrors(answer: () => Promise<void>): Promise<void> {
  try {
    await answer();
  } catch (error) {
    throw error instanceof ApiError ? messagesError(error) : error;
  }
}

function simulatedError(status: number): ApiError {
  const by = `(simulated by the message "simulate: error ${status}")`;
  switch (status) {
    case 401:
      return new ApiError(status, `Incorrect API key provided ${by}.`, { code: "invalid_api_key" });
    case 429:
      return new ApiError(status, `Rate limit reached, please try again in 1s ${by}.`, {
        type: "requests",
        code: "rate_limit_exceeded",
      });
    case 503:
      return new ApiError(status, `The engine is currently overloaded, please try again later ${by}.`);
    default:
      return new ApiError(
        status,
        status < 500 ? `The request was refused ${by}.` : `The server had an error while processing your request ${by}.`,
      );
  }
}

async function stream(
  completion: Completion,
  format: ResponseFormat,
  directive: Directive | undefined,
  response: ServerResponse,
  exchange: Exchange,
): Promise<void> {
  response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache" });
  const pieces = Math.max(...completion.choices.map((choice) => choice.pieces.length));
  const breakAfter = directive?.kind === "disconnect" ? 1 + Math.ceil(pieces / 2) : Infinity;
  const start = performance.now();
  let tokens = 0;
  let sent = 0;
  for (const { tokens: made, text } of format.events(completion)) {
    if (sent >= breakAfter) return disconnectMidEvent(response, text);
    tokens += made;
    // Choices are made at the same time, so each of them has the full pace.
    const due = start + (1000 * tokens) / (exchange.tokensPerSecond * completion.request.n);
    const early = due - performance.now();
    if (early >= 1) await delay(early, undefined, { signal: exchange.gone });
    await writeEvent(response, text, exchange.gone);
    sent += 1;
  }
  response.end();
}

/** Sends half an event and drops the connection. */
async function disconnectMidEvent(response: ServerResponse, text: string): Promise<void> {
  // The callback is called when all earlier writes have been flushed.
  await new Promise((resolve) => response.write(text.slice(0, text.length / 2), resolve));
  response.destroy();
}

/** Returns when the socket accepts more data. @throws an AbortError when the client is gone. */
async function writeEvent(response: ServerResponse, text: string, gone: AbortSignal): Promise<void> {
  gone.throwIfAborted();
  if (response.write(text)) return;
  await new Promise<void>((resolve, reject) => {
    const settle = () => {
      response.off("drain", settle);
      gone.removeEventListener("abort", settle);
      if (gone.aborted) reject(gone.reason);
      else resolve();
    };
    response.on("drain", settle);
    gone.addEventListener("abort", settle);
  });
}

function sendError(response: ServerResponse, error: unknown): void {
  const apiError = error instanceof ApiError ? error : new ApiError(500, "The simulator could not answer this request.");
  if (apiError !== error) console.error("The simulator failed.", error);
  // The rest of a body that was refused is not read, so the connection cannot be used again.
  if (apiError.status === 413) response.setHeader("connection", "close");
  if (apiError.status === 429) response.setHeader("retry-after", "1");
  sendJson(response, apiError.status, apiError);
}

function sendJson(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
}
