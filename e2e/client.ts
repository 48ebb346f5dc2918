import { request as nodeRequest } from "node:http";
import type { ServerProcess } from "../src/testing/server-process.ts";
import { type Answer, expectContract } from "./contract.ts";

export type { Answer } from "./contract.ts";

type Target = Pick<ServerProcess, "url">;

export type Call = {
  method?: string;
  /** An API key or access token, sent as Bearer. */
  key?: string | undefined;
  /** The value of X-Quota-User. */
  user?: string | undefined;
  headers?: Record<string, string>;
  /** Text is sent as it is, other values as JSON. */
  body?: unknown;
  signal?: AbortSignal;
};

/** Sends a request and checks the answer against openapi.json. */
export async function call(server: Target, path: string, options: Call = {}): Promise<Answer> {
  const method = options.method ?? (options.body === undefined ? "GET" : "POST");
  const response = await send(server, path, options);
  const text = await response.text();
  const answer: Answer = { status: response.status, headers: response.headers, text, json: parsed(text) };
  if (path.startsWith("/v1/")) await expectContract(method, server.url + path, answer);
  return answer;
}

/** Sends a request; the test reads the answer. */
export function send(server: Target, path: string, options: Call = {}): Promise<Response> {
  return fetch(server.url + path, {
    method: options.method ?? (options.body === undefined ? "GET" : "POST"),
    headers: headersOf(options),
    body: options.body === undefined ? null : typeof options.body === "string" ? options.body : JSON.stringify(options.body),
    signal: options.signal ?? null,
  });
}

/** Starts all these streams, and hangs up when each has sent `until`. */
export async function hangUpAfter(server: Target, path: string, as: Call, bodies: object[], until: string): Promise<void> {
  const hangUp = new AbortController();
  for (const body of bodies) {
    const answer = await send(server, path, { ...as, body, signal: hangUp.signal });
    const reader = (answer.body as ReadableStream<Uint8Array>).getReader();
    for (let read = ""; !read.includes(until); ) read += Buffer.from((await reader.read()).value ?? []).toString("utf8");
    reader.closed.catch(() => {});
  }
  hangUp.abort();
}

/** Like `call`, over node:http, which sends a path and header bytes that fetch would change or refuse. */
export async function callRaw(server: Target, path: string, options: Call = {}): Promise<Answer> {
  const method = options.method ?? (options.body === undefined ? "GET" : "POST");
  const { hostname, port } = new URL(server.url);
  const answer = await new Promise<Answer>((resolve, reject) => {
    const outgoing = nodeRequest({ hostname, port, path, method, headers: headersOf(options), agent: false }, (incoming) => {
      const parts: Buffer[] = [];
      incoming.on("data", (part: Buffer) => parts.push(part));
      incoming.once("error", reject);
      incoming.once("end", () => {
        const text = Buffer.concat(parts).toString("utf8");
        const headers = new Headers(Object.entries(incoming.headers).map(([name, value]) => [name, String(value)]));
        resolve({ status: incoming.statusCode ?? 0, headers, text, json: parsed(text) });
      });
    });
    outgoing.once("error", reject);
    // As bytes: with a string node:http would encode the headers in UTF-8 too.
    outgoing.end(
      options.body === undefined ? undefined : Buffer.from(typeof options.body === "string" ? options.body : JSON.stringify(options.body)),
    );
  });
  await expectContract(method, new URL(path, server.url).href, answer);
  return answer;
}

function headersOf({ key, user, headers, body }: Call): Record<string, string> {
  return {
    ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
    ...(user === undefined ? {} : { "x-quota-user": user }),
    ...(body === undefined ? {} : { "content-type": "application/json" }),
    ...headers,
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** A minimal chat request; `rest` adds parameters. */
export function chat(content: string, rest: object = {}) {
  return { model: "gpt-4o-mini", messages: [{ role: "user", content }], ...rest };
}

/** A unique text, by which the fake upstream recognizes a request. */
export function marker(): string {
  return `marker-${crypto.randomUUID()}`;
}

/** The data of each event of a stream, parsed; `[DONE]` stays text. */
// biome-ignore lint/suspicious/noExplicitAny: a test asserts on whatever came
export function eventsOf(stream: string): any[] {
  return stream
    .split(/\r?\n\r?\n/)
    .filter((event) => event.startsWith("data:"))
    .map((event) => event.slice(5).trim())
    .map((data) => (data === "[DONE]" ? data : JSON.parse(data)));
}
