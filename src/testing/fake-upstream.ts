import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import {
  type Behaviour,
  BREAK_OFF,
  completion,
  completionChunks,
  embeddings,
  message,
  messageEvents,
  namedEvents,
  refusal,
  response,
  responseEvents,
  sse,
} from "./upstream-answers.ts";

/**
 * A fake provider over HTTP whose answers a test decides. Tests that run at the same time share
 * one: each listens for a marker of its own in the body. A request without a listener gets an
 * ordinary answer.
 */
export type FakeUpstream = {
  /** The base address for OPENAI_BASE_URL and ANTHROPIC_BASE_URL. */
  url: string;
  /** The only key that it accepts; for OPENAI_API_KEY and ANTHROPIC_API_KEY. */
  key: string;
  /** Answers requests whose body contains `marker` with `answer`, until the listener is disposed. */
  on(marker: string, answer: Answer): Listener;
  close(): Promise<void>;
};

/** One behaviour for all requests, a list for one request after the other, or a function of the request. */
export type Answer = Behaviour | readonly Behaviour[] | ((request: SeenRequest) => Behaviour | Promise<Behaviour>);

export type Listener = Disposable & {
  readonly requests: readonly SeenRequest[];
  /** Resolves with the next request that `next` has not returned yet. */
  next(): Promise<SeenRequest>;
};

export type SeenRequest = {
  path: string;
  headers: IncomingHttpHeaders;
  /** The body's text as received. */
  rawBody: string;
  body: Record<string, unknown>;
  /** The gateway's port: the same port is the same connection. */
  port: number | undefined;
  /** How the exchange ended: with the whole answer, or because the client closed the connection. */
  ended: Promise<"answered" | "aborted">;
};

export async function startFakeUpstream(): Promise<FakeUpstream> {
  const key = `sk-fake-upstream-${crypto.randomUUID().replaceAll("-", "")}`;
  const listeners = new Map<string, (request: SeenRequest) => Behaviour | Promise<Behaviour>>();
  const server = createServer((incoming, outgoing) => {
    respond(incoming, outgoing).catch((error: unknown) => {
      // The gateway closed its request early, or a handler failed, in which case its test fails too.
      outgoing.destroy(error instanceof Error ? error : undefined);
    });
  });
  server.keepAliveTimeout = 60_000;
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));

  async function respond(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    outgoing.on("error", () => {});
    const parts: Buffer[] = [];
    for await (const part of incoming as AsyncIterable<Buffer>) parts.push(part);
    const rawBody = Buffer.concat(parts).toString("utf8");
    const request: SeenRequest = {
      path: incoming.url ?? "",
      headers: incoming.headers,
      rawBody,
      body: parsed(rawBody),
      port: incoming.socket.remotePort,
      ended: new Promise((resolve) => outgoing.once("close", () => resolve(outgoing.writableFinished ? "answered" : "aborted"))),
    };
    // Anthropic's Messages API takes the key in `x-api-key`, other paths in `authorization`.
    const isMessages = /\/messages(?:\/count_tokens)?$/.test(request.path);
    const given = isMessages ? incoming.headers["x-api-key"] : incoming.headers.authorization?.replace("Bearer ", "");
    if (given !== key) return send(refusal(401, { message: "Incorrect API key provided.", code: "invalid_api_key" }), outgoing);
    const handler = [...listeners].find(([marker]) => rawBody.includes(marker))?.[1] ?? ordinary;
    await send(await handler(request), outgoing);
  }

  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    key,
    on(marker, answer) {
      const requests: SeenRequest[] = [];
      const waiting: ((request: SeenRequest) => void)[] = [];
      let seen = 0;
      listeners.set(marker, (request) => {
        requests.push(request);
        waiting.shift()?.(request);
        if (typeof answer === "function") return answer(request);
        if (!isList(answer)) return answer;
        const behaviour = answer[requests.length - 1];
        if (behaviour === undefined) throw new Error(`"${marker}" has no answer number ${requests.length}`);
        return behaviour;
      });
      return {
        requests,
        next() {
          const request = requests[seen++];
          return request === undefined ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve(request);
        },
        [Symbol.dispose]: () => void listeners.delete(marker),
      };
    },
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

async function send(behaviour: Behaviour, outgoing: ServerResponse): Promise<void> {
  outgoing.writeHead(behaviour.status ?? 200, { "content-type": "application/json", ...behaviour.headers });
  for await (const piece of behaviour.body) {
    if (outgoing.destroyed) return;
    if (piece === BREAK_OFF) {
      // Flushed first, so that the gateway reads the pieces before the cut.
      outgoing.flushHeaders();
      await new Promise<void>((resolve) => setImmediate(resolve));
      outgoing.destroy();
      return;
    }
    await new Promise<void>((resolve) => outgoing.write(piece, () => resolve()));
  }
  outgoing.end();
}

function isList(answer: Answer): answer is readonly Behaviour[] {
  return Array.isArray(answer);
}

function parsed(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return {};
  }
}

/** The answer to a request without a listener: ten tokens in, five out. */
function ordinary({ path, body }: SeenRequest): Behaviour {
  if (path.endsWith("/embeddings")) return embeddings(body);
  if (path.endsWith("/responses")) return body.stream === true ? namedEvents(responseEvents(["Hello", " there."])) : response();
  if (path.endsWith("/messages")) return body.stream === true ? namedEvents(messageEvents(["Hello", " there."])) : message();
  return body.stream === true ? sse(completionChunks(["Hello", " there."], { includeUsage: true })) : completion();
}

/** A behaviour that never answers. */
export function silence(): Promise<Behaviour> {
  return new Promise(() => {});
}

/** A promise that resolves when the test calls `open`. */
export function gate(): { opened: Promise<void>; open(): void } {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}
