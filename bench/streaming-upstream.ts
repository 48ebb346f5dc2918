import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/**
 * A provider whose streams last as long as the benchmark wants. The first word of a request's
 * message selects the answer:
 *
 * - `short`: twenty chunks at once;
 * - `steady`: about 200 bytes every 250 ms, until `endSteady`;
 * - `flood`: `floodBytes`, as fast as the server takes them.
 */
export type StreamingUpstream = {
  url: string;
  key: string;
  /** By the message of the request. */
  readonly streams: ReadonlyMap<string, UpstreamStream>;
  /** Ends all steady streams at once, each with its last chunks. */
  endSteady(): void;
  close(): void;
};

export type UpstreamStream = {
  /** Bytes before the chunk with the usage. */
  sent: number;
  /** The output tokens that it reported. */
  tokens: number;
  state: "open" | "answered" | "aborted";
};

const PERIOD_MS = 250;
const FLOOD_CHUNK_BYTES = 16 * 1024;

export async function startStreamingUpstream(options: { floodBytes: number }): Promise<StreamingUpstream> {
  const key = "bench";
  const streams = new Map<string, UpstreamStream>();
  const steady = new Set<() => void>();

  const server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () => {
      const message = (JSON.parse(Buffer.concat(parts).toString("utf8")) as { messages: { content: string }[] }).messages[0]?.content ?? "";
      const stream: UpstreamStream = { sent: 0, tokens: 0, state: "open" };
      streams.set(message, stream);
      response.once("close", () => {
        stream.state = response.writableFinished ? "answered" : "aborted";
      });
      response.on("error", () => {});
      response.writeHead(200, { "content-type": "text/event-stream" });
      const [kind] = message.split(" ");
      if (kind === "steady") sendSteadily(response, stream);
      else if (kind === "flood") void flood(response, stream);
      else {
        for (let index = 0; index < 20; index++) write(response, stream, chunk({ content: ` word${index}` }));
        end(response, stream);
      }
    });
  });
  server.keepAliveTimeout = 65_000;
  await new Promise<void>((resolve) => server.listen({ port: 0, host: "127.0.0.1", backlog: 4_096 }, resolve));

  function sendSteadily(response: ServerResponse, stream: UpstreamStream): void {
    const timer = setInterval(() => write(response, stream, chunk({ content: ` word${stream.tokens}` })), PERIOD_MS);
    const finish = () => {
      clearInterval(timer);
      end(response, stream);
    };
    steady.add(finish);
    response.once("close", () => {
      clearInterval(timer);
      steady.delete(finish);
    });
  }

  async function flood(response: ServerResponse, stream: UpstreamStream): Promise<void> {
    // Little text in many bytes, like a provider that pads its chunks.
    const padded = chunk({ content: " word" }, "x".repeat(FLOOD_CHUNK_BYTES));
    while (stream.sent < options.floodBytes) {
      if (!write(response, stream, padded)) await drained(response);
      if (response.destroyed) return;
    }
    end(response, stream);
  }

  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    key,
    streams,
    endSteady() {
      for (const finish of [...steady]) finish();
    },
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

const head = { id: "chatcmpl-bench", object: "chat.completion.chunk", created: 1_700_000_000, model: "gpt-4o-mini" };

function chunk(delta: object, obfuscation?: string): Buffer {
  return event({ ...head, choices: [{ index: 0, delta, logprobs: null, finish_reason: null }], usage: null, obfuscation });
}

function event(data: object): Buffer {
  return Buffer.from(`data: ${JSON.stringify(data)}\n\n`);
}

/** Resolves when the socket has room again or is closed. */
function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      response.off("drain", done).off("close", done);
      resolve();
    };
    response.once("drain", done).once("close", done);
  });
}

function write(response: ServerResponse, stream: UpstreamStream, bytes: Buffer): boolean {
  stream.sent += bytes.length;
  stream.tokens++;
  return response.write(bytes);
}

function end(response: ServerResponse, { tokens }: UpstreamStream): void {
  response.write(event({ ...head, choices: [{ index: 0, delta: {}, logprobs: null, finish_reason: "stop" }], usage: null }));
  response.write(event({ ...head, choices: [], usage: { prompt_tokens: 9, completion_tokens: tokens, total_tokens: 9 + tokens } }));
  response.end("data: [DONE]\n\n");
}
