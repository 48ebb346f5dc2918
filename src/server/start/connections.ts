import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { clientAddress } from "../http/address.ts";

export type ConnectionLimits = {
  /** Connections in all. */
  mostConnections: number;
  /** Connections from one address whose first request has not fully arrived; null for no limit, as behind a proxy, which all connections come from. */
  mostPendingPerAddress: number | null;
  /** A connection is not closed for `mostPendingPerAddress` before this age: many that arrive together are read one after the other. */
  graceMs: number;
};

/**
 * Bounds the connections of a server. A connection with a request under way is never closed here. Above
 * `mostConnections` the connection that has waited longest is closed: first those whose first request has not
 * fully arrived, then idle ones. When there are none, the new connection is closed.
 */
export function boundConnections(server: Server, limits: ConnectionLimits): void {
  /** Sockets whose first request has not fully arrived, by address and all together; the longest wait first. */
  const pendingOf = new Map<string, Set<Socket>>();
  const pending = new Map<Socket, { address: string; since: number }>();
  /** Sockets without a request under way, after at least one. */
  const idle = new Set<Socket>();
  let open = 0;

  const stopWaiting = (socket: Socket) => {
    idle.delete(socket);
    const waited = pending.get(socket);
    if (waited === undefined) return;
    pending.delete(socket);
    const others = pendingOf.get(waited.address);
    others?.delete(socket);
    if (others?.size === 0) pendingOf.delete(waited.address);
  };

  server.on("connection", (socket: Socket) => {
    open++;
    socket.once("close", () => {
      open--;
      stopWaiting(socket);
    });
    if (open > limits.mostConnections) {
      const [longest] = pending.size > 0 ? pending.keys() : idle;
      // `open` is decreased when the socket emits "close".
      (longest ?? socket).destroy();
      if (longest === undefined) return;
      stopWaiting(longest);
    }
    const address = limits.mostPendingPerAddress === null ? "" : clientAddress(undefined, socket.remoteAddress, 0);
    const others = pendingOf.get(address) ?? new Set();
    pendingOf.set(address, others.add(socket));
    const now = performance.now();
    pending.set(socket, { address, since: now });
    if (limits.mostPendingPerAddress === null || others.size <= limits.mostPendingPerAddress) return;
    const [longest] = others;
    if (longest === undefined || now - (pending.get(longest)?.since ?? now) < limits.graceMs) return;
    longest.destroy();
    stopWaiting(longest);
  });

  server.prependListener("request", (incoming: IncomingMessage, outgoing: ServerResponse) => {
    const { socket } = incoming;
    // A request without a body has fully arrived.
    if (incoming.headers["content-length"] === undefined && incoming.headers["transfer-encoding"] === undefined) stopWaiting(socket);
    // `on` instead of `once`, which wraps the listener: each event is emitted once per request.
    else incoming.on("end", () => stopWaiting(socket));
    outgoing.on("close", () => {
      if (socket.destroyed) return;
      stopWaiting(socket);
      idle.add(socket);
    });
  });
}
