import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";

/** A request that arrived at a receiver of webhooks. */
export type Received = { path: string; headers: Record<string, string>; body: string };
export type Behaviour = (received: Received, outgoing: ServerResponse, incoming: IncomingMessage) => void;

export type Receiver = {
  /** Append a path to tell endpoints apart. */
  url: string;
  /** Requests that arrived completely, in order. */
  received: Received[];
  /** Requests for one path. */
  at(path: string): Received[];
  /** Sets the behaviour for a path; the default is 204. */
  behave(path: string, behaviour: Behaviour): void;
  /** Stops listening and cuts every connection. */
  down(): Promise<void>;
  /** Listens again, on the same port. */
  up(): Promise<void>;
  close(): Promise<void>;
};

/** A server that receives webhooks, with misbehaviours for tests. */
export async function startReceiver(): Promise<Receiver> {
  const behaviours = new Map<string, Behaviour>();
  const received: Received[] = [];
  const sockets = new Set<Socket>();
  let server: Server | undefined;
  let port = 0;

  async function up(): Promise<void> {
    server = createServer((incoming, outgoing) => {
      const parts: Buffer[] = [];
      incoming.on("data", (part: Buffer) => parts.push(part));
      incoming.on("end", () => {
        const each: Received = {
          path: incoming.url ?? "/",
          headers: Object.fromEntries(Object.entries(incoming.headers).map(([name, value]) => [name, String(value)])),
          body: Buffer.concat(parts).toString("utf8"),
        };
        received.push(each);
        (behaviours.get(each.path) ?? accept)(each, outgoing, incoming);
      });
      incoming.on("error", () => {});
      outgoing.on("error", () => {});
    });
    server.on("connection", (socket) => {
      sockets.add(socket);
      socket.once("close", () => sockets.delete(socket));
    });
    await new Promise<void>((resolve) => server?.listen(port, "127.0.0.1", resolve));
    port = (server.address() as AddressInfo).port;
  }

  async function down(): Promise<void> {
    const stopped = new Promise((resolve) => server?.close(resolve));
    for (const socket of sockets) socket.destroy();
    await stopped;
  }

  await up();
  return {
    url: `http://127.0.0.1:${port}`,
    received,
    at: (path) => received.filter((each) => each.path === path),
    behave: (path, behaviour) => void behaviours.set(path, behaviour),
    down,
    up,
    close: down,
  };
}

export const accept: Behaviour = (_received, outgoing) => void outgoing.writeHead(204).end();
/** Takes the request and never answers. */
export const hang: Behaviour = () => {};
export const answer =
  (status: number, body = "", headers: Record<string, string> = {}): Behaviour =>
  (_received, outgoing) =>
    void outgoing.writeHead(status, headers).end(body);
/** Announces a longer body than it sends. */
export const closeEarly: Behaviour = (_received, outgoing) => {
  outgoing.writeHead(200, { "content-length": "100" });
  outgoing.write("not all of it");
  setImmediate(() => outgoing.destroy());
};
/** Answers 200 with a body that never ends, a byte at a time. */
export const drip: Behaviour = (_received, outgoing) => {
  outgoing.writeHead(200);
  const timer = setInterval(() => outgoing.write("."), 20);
  outgoing.once("close", () => clearInterval(timer));
};
/** Sends a body without end under this status, as fast as it can. */
export const flood =
  (status: number): Behaviour =>
  (_received, outgoing) => {
    outgoing.writeHead(status);
    const pour = () => {
      while (!outgoing.destroyed && outgoing.write("x".repeat(16_384)));
      if (!outgoing.destroyed) outgoing.once("drain", pour);
    };
    pour();
  };
