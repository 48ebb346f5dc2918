import { pipeline, type Readable } from "node:stream";
import { createBrotliDecompress, createGunzip, createInflate, createZstdDecompress } from "node:zlib";
import type { Payer } from "../ledger/hold.ts";
import { AppError } from "../platform/errors.ts";
import type { CompletionRequest, Dialect } from "./dialects/dialect.ts";
import type { EventMeter } from "./dialects/event-meter.ts";
import { withMembers } from "./dialects/json-text.ts";
import { isSimulated, simulator, type Upstream, upstreamFor } from "./providers.ts";

type Answered = Awaited<ReturnType<Upstream["pool"]["request"]>>;
export type UpstreamResponse = Pick<Answered, "statusCode" | "headers"> & { body: Readable };

/** The upstream for a request of this payer. Throws AppError when the model's provider is not configured. */
export async function findUpstream({ model }: CompletionRequest, { billingMode }: Pick<Payer, "billingMode">): Promise<Upstream> {
  if (billingMode === "test" || isSimulated()) return simulator();
  const upstream = upstreamFor(model.provider);
  if (upstream === null)
    throw new AppError("provider_unavailable", {
      message: `This server has no access to the provider of ${model.id}.`,
    });
  return upstream;
}

/** Sends the request to the provider, with `outputLimit` as its output limit unless that is null. */
export function ask(
  upstream: Upstream,
  { dialect, request }: { dialect: Dialect; request: CompletionRequest },
  outputLimit: number | null,
  signal: AbortSignal,
): Promise<Answered> {
  return upstream.pool.request({
    method: "POST",
    path: upstream.pathPrefix + dialect.upstreamPath,
    headers: dialect.headers(request, upstream),
    body: upstreamBody(upstream, dialect, request, outputLimit),
    signal,
  });
}

/** Decompresses a response's body: some servers compress although the request accepts only `identity`. */
export function decoded({ statusCode, headers, body }: Answered): UpstreamResponse {
  const encoding = headers["content-encoding"];
  if (encoding === undefined) return { statusCode, headers, body };
  // The encodings are listed in the order in which they were applied. After an unknown one the body stays encoded, and fails to parse as an answer.
  const decoders = String(encoding)
    .split(",")
    .flatMap((name) => DECODERS[name.trim().toLowerCase()] ?? [])
    .reverse();
  return { statusCode, headers, body: decoders.reduce<Readable>((source, decoder) => pipeline(source, decoder(), () => {}), body) };
}

const DECODERS: Readonly<Record<string, (() => ReturnType<typeof createGunzip>) | undefined>> = {
  gzip: createGunzip,
  "x-gzip": createGunzip,
  deflate: createInflate,
  br: createBrotliDecompress,
  zstd: createZstdDecompress,
};

/** The request's body as the app sent it, except for the members that the dialect and the model's name change. */
function upstreamBody(upstream: Upstream, dialect: Dialect, request: CompletionRequest, outputLimit: number | null): string {
  const hasOtherName = request.model.upstreamId !== request.body.model && upstream.provider !== "simulator";
  const changes = {
    ...dialect.changes(request, upstream, outputLimit),
    ...(hasOtherName ? { model: JSON.stringify(request.model.upstreamId) } : {}),
  };
  return Object.keys(changes).length === 0 ? request.text : withMembers(request.text, request.members, changes);
}

/** Headers that keep proxies from buffering a stream of events. */
export const EVENT_STREAM_HEADERS = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-store, no-cache, no-transform",
  "x-accel-buffering": "no",
} as const;

/** Whether an answer is a stream of events. */
export function isEventStream(contentType: string | string[] | undefined): boolean {
  return String(contentType ?? "")
    .toLowerCase()
    .startsWith("text/event-stream");
}

/** The JSON object that a text is; null when it is not one. */
export function parseObject(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

/** Reads the rest of a stream whose client has hung up, for the provider's usage at its end. */
export async function drain(body: Readable, meter: EventMeter): Promise<void> {
  const bodyTimer = new BodyEndTimer(body, meter);
  bodyTimer.begin();
  try {
    for await (const chunk of body.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      bodyTimer.stop();
      meter.push(chunk);
      if (meter.done || meter.failure !== null) return;
      bodyTimer.begin();
    }
  } catch {
    // The meter counts what came before the error.
  } finally {
    bodyTimer.stop();
  }
}

/**
 * Closes the body of a stream a second after its answer is complete, or three seconds after when the usage is still
 * missing: some servers leave the connection open after an answer, without `[DONE]`.
 */
export class BodyEndTimer {
  /** This timer has closed the body. */
  hasFired = false;
  readonly #body: Readable;
  readonly #meter: EventMeter;
  #timer: NodeJS.Timeout | undefined;

  constructor(body: Readable, meter: EventMeter) {
    this.#body = body;
    this.#meter = meter;
  }

  /** To be called before the next chunk is waited for. */
  begin(): void {
    if (!this.#meter.hasEndedAnswer()) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#end(), this.#meter.usage === null ? LAST_USAGE_MS : LAST_BYTES_MS);
  }

  /** To be called when the chunk has come: the client may read it slowly. */
  stop(): void {
    clearTimeout(this.#timer);
  }

  #end(): void {
    this.hasFired = true;
    this.#body.destroy();
  }
}

/**
 * Closes a stream's body. After `[DONE]` (`isDone`) it waits up to a second for the body's
 * end, because a connection whose response has ended can be reused.
 */
export function closeBody(body: Readable, isDone: boolean): void {
  body.on("error", () => {});
  if (!isDone) return void body.destroy();
  const timer = setTimeout(() => body.destroy(), LAST_BYTES_MS).unref();
  body.once("close", () => clearTimeout(timer)).resume();
}

const LAST_BYTES_MS = 1_000;
const LAST_USAGE_MS = 3_000;

/** Parsing more would block the event loop for too long; 16,000 tokens with all their log probabilities are less. */
const LARGEST_ANSWER_BYTES = 32 * 1024 * 1024;

const utf8 = new TextDecoder();

/** Reads a body to its end. null when it exceeds LARGEST_ANSWER_BYTES; the rest is not read then. */
export function readAnswer(body: Readable): Promise<string | null> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let size = 0;
    let ended = false;
    body.on("data", (part: Buffer) => {
      parts.push(part);
      size += part.length;
      if (size <= LARGEST_ANSWER_BYTES) return;
      parts.length = 0;
      ended = true;
      resolve(null);
      body.destroy();
    });
    body.on("end", () => {
      ended = true;
      resolve(utf8.decode(parts.length === 1 ? parts[0] : Buffer.concat(parts)));
    });
    body.on("error", reject);
    // Every body emits close. The error is made only when it is needed, because its stack costs more than the rest of this function.
    body.on("close", () => ended || reject(new Error("the answer broke off")));
  });
}

/** Parses what `readAnswer` returned. Throws AppError when it is not an answer of the dialect. */
export function parseAnswer(text: string, dialect: Dialect): Record<string, unknown> {
  const parsed = parseObject(text);
  if (parsed === null)
    throw new AppError("upstream_error", { message: "The model's provider sent an answer that is not JSON. Nothing was billed." });
  if ((parsed.error ?? null) !== null || !dialect.isAnswer(parsed)) {
    // Some providers report a failure with status 200.
    throw new AppError("upstream_error", { message: "The model's provider sent no answer. Nothing was billed." });
  }
  return parsed;
}

/** The error when `readAnswer` returned null. */
export function answerTooLarge(): AppError {
  return new AppError("upstream_error", {
    message: `The model's provider sent an answer of more than ${LARGEST_ANSWER_BYTES} bytes. Nothing was billed. Ask for fewer choices or log probabilities, or for a stream.`,
  });
}

/** The first 64 KiB of a body: a provider's error page may be of any size. */
export async function readStart(body: Readable): Promise<string> {
  const parts: Buffer[] = [];
  let size = 0;
  try {
    for await (const part of body as AsyncIterable<Buffer>) {
      parts.push(part);
      size += part.length;
      if (size > 64 * 1024) break;
    }
  } catch {
    // The part before the error is parsed as far as it goes.
  }
  body.on("error", () => {}).destroy();
  return Buffer.concat(parts).toString("utf8");
}
