import type { IncomingMessage, ServerResponse } from "node:http";
import { AppError } from "../platform/errors.ts";

/**
 * The request and the reply of a door, independent of the server in front of it. Next passes web Requests and takes
 * Responses; node's server makes neither, which saves their cost on every request.
 */
export type Incoming = {
  method: string;
  /** Percent-encoded, without the query. */
  path: string;
  /** Without the question mark. */
  query: string;
  /** The value of a header, by its lower-case name; null when it is absent. */
  header(name: string): string | null;
  /** The whole body, or "too_large" when it has more than `limit` bytes, which are not kept. */
  read(limit: number): Promise<Uint8Array | "too_large">;
  /** Aborts when the client disconnects before its answer is complete. */
  signal: AbortSignal;
};

export type Reply = {
  status: number;
  /** Lower-case names. */
  headers: Record<string, string>;
  body: string | null | AsyncIterable<Uint8Array>;
};

export function fromRequest(request: Request): Incoming {
  const { pathname, search } = new URL(request.url);
  return {
    method: request.method,
    path: pathname,
    query: search.slice(1),
    header: (name) => request.headers.get(name),
    read: (limit) => readWebStream(request, limit),
    signal: request.signal,
  };
}

export function toResponse(reply: Reply): Response {
  const body = reply.body === null || typeof reply.body === "string" ? reply.body : webStream(reply.body);
  return new Response(body, { status: reply.status, headers: reply.headers });
}

const BODY_IDLE_TIMEOUT_MS = 20_000;

/** When no byte of the body arrives for `bodyIdleMs`, `read` throws `request_timeout`. */
export function fromNode(incoming: IncomingMessage, outgoing: ServerResponse, options: { bodyIdleMs?: number } = {}): Incoming {
  const url = incoming.url ?? "/";
  const mark = url.indexOf("?");
  const gone = new AbortController();
  outgoing.on("close", () => {
    if (!outgoing.writableFinished) gone.abort();
  });
  return {
    method: incoming.method ?? "GET",
    path: mark === -1 ? url : url.slice(0, mark),
    query: mark === -1 ? "" : url.slice(mark + 1),
    header: (name) => {
      const value = incoming.headers[name];
      return value === undefined ? null : typeof value === "string" ? value : value.join(", ");
    },
    read: (limit) => readNodeStream(incoming, limit, options.bodyIdleMs ?? BODY_IDLE_TIMEOUT_MS),
    signal: gone.signal,
  };
}

/** Writes a reply. Resolves when node has taken all of it or the client has disconnected. */
export async function sendNode(reply: Reply, incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  if (outgoing.destroyed) {
    // The client has disconnected. `return` runs the generator's `finally`, which releases its resources.
    if (reply.body !== null && typeof reply.body !== "string") await reply.body[Symbol.asyncIterator]().return?.();
    return;
  }
  // The rest of a refused body is read, except after 408, when the client has stopped sending.
  const unread = !incoming.complete && announcesBody(incoming) && reply.status !== 408;
  if (reply.body === null || typeof reply.body === "string") {
    const length = reply.body === null ? 0 : Buffer.byteLength(reply.body);
    if (reply.status !== 204) reply.headers["content-length"] = String(length);
    outgoing.writeHead(reply.status, reply.headers);
    if (unread) {
      // The whole answer is written before the rest of the body is read.
      if (length > 0 && incoming.method !== "HEAD") outgoing.write(reply.body);
      else outgoing.flushHeaders();
      await discardRest(incoming);
      return void outgoing.end();
    }
    if (reply.body === null || incoming.method === "HEAD") return void outgoing.end();
    if (length < LARGE_BYTES) return void outgoing.end(reply.body);
    // Node counts a connection as idle once `end` was called, even while the client still reads, and a server that
    // stops closes idle connections. So a large answer is ended only after the socket has drained.
    if (!outgoing.write(reply.body)) await drained(outgoing);
    return void outgoing.end();
  }
  outgoing.writeHead(reply.status, reply.headers);
  outgoing.flushHeaders();
  for await (const chunk of reply.body) {
    if (outgoing.destroyed) return;
    if (!outgoing.write(chunk)) await drained(outgoing);
  }
  outgoing.end();
}

const DRAIN_TIMEOUT_MS = 60_000;
const LARGE_BYTES = 64 * 1024;

/** Whether a request has a body. While the head is handled, `incoming.complete` is false for requests without one, too. */
export function announcesBody({ headers }: IncomingMessage): boolean {
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
}

/**
 * Reads and discards the rest of a refused body until it ends or the client disconnects, for DISCARD_TIMEOUT_MS at most.
 * RFC 9112 §9.6: closing the connection while the client sends would reset it, and the client could lose the answer.
 * After `connection: close` node would do so as soon as the answer is ended.
 */
function discardRest(incoming: IncomingMessage): Promise<void> {
  if (incoming.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(() => incoming.socket.destroy(), DISCARD_TIMEOUT_MS);
    const done = () => {
      clearTimeout(timer);
      resolve();
    };
    incoming.once("end", done);
    incoming.once("close", done);
    incoming.resume();
  });
}

const DISCARD_TIMEOUT_MS = 10_000;

/** Resolves when the socket has drained or is closed. Closes it when it has not drained within DRAIN_TIMEOUT_MS. */
function drained(outgoing: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => outgoing.destroy(), DRAIN_TIMEOUT_MS);
    const done = () => {
      clearTimeout(timer);
      outgoing.off("drain", done);
      outgoing.off("close", done);
      resolve();
    };
    outgoing.once("drain", done);
    outgoing.once("close", done);
  });
}

function readNodeStream(incoming: IncomingMessage, limit: number, idleMs: number): Promise<Uint8Array | "too_large"> {
  if (Number(incoming.headers["content-length"] ?? 0) > limit) return Promise.resolve("too_large");
  // A stream that is already destroyed emits no further event.
  if (incoming.destroyed) return Promise.reject(bodyAborted());
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let size = 0;
    const stop = () => {
      clearTimeout(timer);
      incoming.off("data", take).pause();
      parts.length = 0;
    };
    // A small body has often arrived with the head and needs no timer.
    const timer = incoming.complete ? undefined : setTimeout(expire, idleMs);
    function expire() {
      stop();
      // On a connection that stays open, the rest of the body would be parsed as the next request.
      reject(new AppError("request_timeout", { headers: { connection: "close" } }));
    }
    const take = (part: Buffer) => {
      timer?.refresh();
      size += part.length;
      parts.push(part);
      if (size <= limit) return;
      stop();
      resolve("too_large");
    };
    incoming.on("data", take);
    incoming.on("end", () => {
      clearTimeout(timer);
      resolve(parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts));
    });
    const abort = () => {
      clearTimeout(timer);
      reject(bodyAborted());
    };
    incoming.on("error", abort);
    incoming.on("aborted", abort);
  });
}

/** The client has disconnected and reads no answer. The code is below 500, so that the log has no error of the server. */
function bodyAborted(): AppError {
  return new AppError("bad_request", { message: "The request ended in the middle of its body." });
}

async function readWebStream(request: Request, limit: number): Promise<Uint8Array | "too_large"> {
  if (Number(request.headers.get("content-length") ?? 0) > limit) return "too_large";
  if (request.body === null) return new Uint8Array();
  const parts: Uint8Array[] = [];
  let size = 0;
  const reader = request.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return Buffer.concat(parts);
    size += value.length;
    if (size > limit) {
      await reader.cancel().catch(() => {});
      return "too_large";
    }
    parts.push(value);
  }
}

function webStream(body: AsyncIterable<Uint8Array>): ReadableStream<Uint8Array> {
  const chunks = body[Symbol.asyncIterator]();
  return new ReadableStream(
    {
      async pull(controller) {
        const next = await chunks.next();
        if (next.done === true) controller.close();
        else controller.enqueue(next.value);
      },
      async cancel() {
        await chunks.return?.();
      },
    },
    { highWaterMark: 0 },
  );
}
