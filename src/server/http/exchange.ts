import type { IncomingMessage, ServerResponse } from "node:http";
import { AppError } from "../platform/errors.ts";

/**
 * A request and a reply, as doors see them. A door works alike behind Next, which
 * speaks in web Requests and Responses, and behind our own server, which spares
 * every request the cost of those objects.
 */
export type Incoming = {
  method: string;
  /** Percent-encoded, without the query. */
  path: string;
  /** Without the question mark. */
  query: string;
  /** The value of a header, by its lower-case name; null when it is absent. */
  header(name: string): string | null;
  /** The whole body; "too_large" when it has more than `limit` bytes, without keeping them. */
  read(limit: number): Promise<Uint8Array | "too_large">;
  /** Aborts when the client is gone before its answer is complete. */
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

/** How long a body may pause on its way. */
const BODY_IDLE_MS = 20_000;

/** `bodyIdleMs`: when nothing of the body comes for so long, reading it throws `request_timeout`. */
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
    read: (limit) => readNodeStream(incoming, limit, options.bodyIdleMs ?? BODY_IDLE_MS),
    signal: gone.signal,
  };
}

/** Writes a reply; resolves when all of it is handed over or the client is gone. */
export async function sendNode(reply: Reply, incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  if (outgoing.destroyed) {
    // Nobody listens; the body still has to hear that it ends here.
    if (reply.body !== null && typeof reply.body !== "string") await reply.body[Symbol.asyncIterator]().return?.();
    return;
  }
  // A client that stopped sending is not waited for.
  const unread = !incoming.complete && announcesBody(incoming) && reply.status !== 408;
  if (reply.body === null || typeof reply.body === "string") {
    const length = reply.body === null ? 0 : Buffer.byteLength(reply.body);
    if (reply.status !== 204) reply.headers["content-length"] = String(length);
    outgoing.writeHead(reply.status, reply.headers);
    if (unread) {
      // The whole answer is on its way before anything more is read.
      if (length > 0 && incoming.method !== "HEAD") outgoing.write(reply.body);
      else outgoing.flushHeaders();
      await restDiscarded(incoming);
      return void outgoing.end();
    }
    if (reply.body === null || incoming.method === "HEAD") return void outgoing.end();
    if (length < LARGE_BYTES) return void outgoing.end(reply.body);
    // Node takes a connection whose answer was ended for idle, even while the client
    // still reads, and a server that stops cuts it. So it is ended when it is sent.
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

const UNREAD_FOR_MS = 60_000;
const LARGE_BYTES = 64 * 1024;

/** A request without a body is not complete either, as long as its head is being handled. */
export function announcesBody({ headers }: IncomingMessage): boolean {
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
}

/**
 * Reads the rest of a refused body and throws it away, until it ends, the client is
 * gone or ten seconds are over. RFC 9112 §9.6: closing while the client still sends
 * would reset the connection and could take our answer with it; and Node closes one
 * that the client wants closed as soon as the answer is ended.
 */
function restDiscarded(incoming: IncomingMessage): Promise<void> {
  if (incoming.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(() => incoming.socket.destroy(), DISCARD_FOR_MS);
    const done = () => {
      clearTimeout(timer);
      resolve();
    };
    incoming.once("end", done);
    incoming.once("close", done);
    incoming.resume();
  });
}

const DISCARD_FOR_MS = 10_000;

/** Resolves when the client has read enough for more, or is gone. One that reads nothing for a minute counts as gone. */
function drained(outgoing: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => outgoing.destroy(), UNREAD_FOR_MS);
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
  // Who left before the body was asked for is told of by no event any more.
  if (incoming.destroyed) return Promise.reject(leftInTheMiddle());
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let size = 0;
    const stop = () => {
      clearTimeout(timer);
      incoming.off("data", take).pause();
      parts.length = 0;
    };
    // A small body came together with its head.
    const timer = incoming.complete ? undefined : setTimeout(late, idleMs);
    function late() {
      stop();
      // What is still to come would be taken for the next request.
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
    const left = () => {
      clearTimeout(timer);
      reject(leftInTheMiddle());
    };
    incoming.on("error", left);
    incoming.on("aborted", left);
  });
}

/** Nobody is left to read the answer; it must only not look like a fault of ours. */
function leftInTheMiddle(): AppError {
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
