import { pipeline, type Readable } from "node:stream";
import { createBrotliDecompress, createGunzip, createInflate, createZstdDecompress } from "node:zlib";
import type { Payer } from "../ledger/hold.ts";
import { AppError } from "../platform/errors.ts";
import type { CompletionRequest, Dialect } from "./dialects/dialect.ts";
import type { EventMeter } from "./dialects/event-meter.ts";
import { withMembers } from "./dialects/json-text.ts";
import { isSimulated, simulator, type Upstream, upstreamFor } from "./providers.ts";

/** Asking a provider, and reading what it answers. */
type Answered = Awaited<ReturnType<Upstream["pool"]["request"]>>;
export type UpstreamResponse = Pick<Answered, "statusCode" | "headers"> & { body: Readable };

/** Where a request of this payer goes. Throws AppError when the operator has configured no way to it. */
export async function findUpstream({ model }: CompletionRequest, { billingMode }: Pick<Payer, "billingMode">): Promise<Upstream> {
  if (billingMode === "test" || isSimulated()) return simulator();
  const upstream = upstreamFor(model.provider);
  if (upstream === null)
    throw new AppError("provider_unavailable", {
      message: `This server has no access to the provider of ${model.id}.`,
    });
  return upstream;
}

/** Sends the request on; with `outputLimit`, unless it is null, as its limit of output. */
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

/** The same with a body that is not compressed: some servers compress although they are asked not to. */
export function decoded({ statusCode, headers, body }: Answered): UpstreamResponse {
  const encoding = headers["content-encoding"];
  if (encoding === undefined) return { statusCode, headers, body };
  // The last one was applied last. One that is not known stays, and is found to be no answer.
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

/** The app's own bytes, but for what billing has to change. */
function upstreamBody(upstream: Upstream, dialect: Dialect, request: CompletionRequest, outputLimit: number | null): string {
  const hasOtherName = request.model.upstreamId !== request.body.model && upstream.provider !== "simulator";
  const changes = {
    ...dialect.changes(request, upstream, outputLimit),
    ...(hasOtherName ? { model: JSON.stringify(request.model.upstreamId) } : {}),
  };
  return Object.keys(changes).length === 0 ? request.text : withMembers(request.text, request.members, changes);
}

/** What a stream of events is sent on with, so that nothing on its way keeps it back. */
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

/** Reads what is left of a stream that nobody wants any more, for the provider's count at its end. */
export async function drain(body: Readable, meter: EventMeter): Promise<void> {
  const lastWait = new LastWait(body, meter);
  lastWait.begin();
  try {
    for await (const chunk of body.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      lastWait.stop();
      meter.push(chunk);
      if (meter.done || meter.failure !== null) return;
      lastWait.begin();
    }
  } catch {
    // Whatever came until now is what there is to count.
  } finally {
    lastWait.stop();
  }
}

/**
 * Ends the body of a stream a short while after all was said in it: some servers leave the connection open after the
 * end of an answer, without `[DONE]`. While the usage is missing it gets more time.
 */
export class LastWait {
  /** The body was ended. */
  isOver = false;
  readonly #body: Readable;
  readonly #meter: EventMeter;
  #timer: NodeJS.Timeout | undefined;

  constructor(body: Readable, meter: EventMeter) {
    this.#body = body;
    this.#meter = meter;
  }

  /** To be called before the next chunk is waited for. */
  begin(): void {
    if (!this.#meter.hasSaidAll()) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#end(), this.#meter.usage === null ? LAST_USAGE_MS : LAST_BYTES_MS);
  }

  /** To be called when it came, for what is done with it may take longer. */
  stop(): void {
    clearTimeout(this.#timer);
  }

  #end(): void {
    this.isOver = true;
    this.#body.destroy();
  }
}

/**
 * Ends with a stream. After `[DONE]` only the end of the body is to come, and a
 * connection whose answer came to its end serves the next request.
 */
export function leave(body: Readable, isDone: boolean): void {
  body.on("error", () => {});
  if (!isDone) return void body.destroy();
  const timer = setTimeout(() => body.destroy(), LAST_BYTES_MS).unref();
  body.once("close", () => clearTimeout(timer)).resume();
}

const LAST_BYTES_MS = 1_000;
const LAST_USAGE_MS = 3_000;

/** More could not be parsed without holding up everybody else; 16,000 tokens with all their log probabilities are less. */
const LARGEST_ANSWER_BYTES = 32 * 1024 * 1024;

const utf8 = new TextDecoder();

/** A whole answer; null when it is larger than any may be, of which no more is read. */
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
    // Every answer closes, and an error with its stack costs more than all else here.
    body.on("close", () => ended || reject(new Error("the answer broke off")));
  });
}

/** What a whole answer says, as `readAnswer` read it. Throws AppError when that is not an answer. */
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

/** `readAnswer` gave up. */
export function answerTooLarge(): AppError {
  return new AppError("upstream_error", {
    message: `The model's provider sent an answer of more than ${LARGEST_ANSWER_BYTES} bytes. Nothing was billed. Ask for fewer choices or log probabilities, or for a stream.`,
  });
}

/** The first 64 kB of an error; a provider's error page may be of any size. */
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
    // What came is enough to tell.
  }
  body.on("error", () => {}).destroy();
  return Buffer.concat(parts).toString("utf8");
}
