import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { clientAddress } from "../http/address.ts";

export type ConnectionLimits = {
  /** Connections in all. */
  most: number;
  /** Connections from one address whose first request has not arrived whole; null when an address says nothing, as behind a proxy. */
  mostBegunOfOneAddress: number | null;
  /** For so long a new connection does not count as one of those: many that come together are read one after the other. */
  graceMs: number;
};

/**
 * Bounds the connections of a server. One that has a request under way is never closed here. When there are too
 * many, the one closes that has waited longest for a request or for the rest of one: first those that never had
 * a whole request, then the idle ones. A new one is turned away only when all others are at work.
 */
export function boundConnections(server: Server, limits: ConnectionLimits): void {
  /** Sockets that wait for (the rest of) their first request, by address, and all of them; the longest wait first. */
  const begunOf = new Map<string, Set<Socket>>();
  const begun = new Map<Socket, { address: string; since: number }>();
  /** Sockets that wait for another request after at least one. */
  const idle = new Set<Socket>();
  let open = 0;

  const leave = (socket: Socket) => {
    idle.delete(socket);
    const waited = begun.get(socket);
    if (waited === undefined) return;
    begun.delete(socket);
    const others = begunOf.get(waited.address);
    others?.delete(socket);
    if (others?.size === 0) begunOf.delete(waited.address);
  };

  server.on("connection", (socket: Socket) => {
    open++;
    socket.once("close", () => {
      open--;
      leave(socket);
    });
    if (open > limits.most) {
      const [longest] = begun.size > 0 ? begun.keys() : idle;
      // Destroyed now, counted when its close is told.
      (longest ?? socket).destroy();
      if (longest === undefined) return;
      leave(longest);
    }
    const address = limits.mostBegunOfOneAddress === null ? "" : clientAddress(undefined, socket.remoteAddress, 0);
    const others = begunOf.get(address) ?? new Set();
    begunOf.set(address, others.add(socket));
    const now = performance.now();
    begun.set(socket, { address, since: now });
    if (limits.mostBegunOfOneAddress === null || others.size <= limits.mostBegunOfOneAddress) return;
    const [longest] = others;
    if (longest === undefined || now - (begun.get(longest)?.since ?? now) < limits.graceMs) return;
    longest.destroy();
    leave(longest);
  });

  server.prependListener("request", (incoming: IncomingMessage, outgoing: ServerResponse) => {
    const { socket } = incoming;
    // Without a body it is here whole.
    if (incoming.headers["content-length"] === undefined && incoming.headers["transfer-encoding"] === undefined) leave(socket);
    // Not `once`, which costs more: these are told once in any case.
    else incoming.on("end", () => leave(socket));
    outgoing.on("close", () => {
      if (socket.destroyed) return;
      leave(socket);
      idle.add(socket);
    });
  });
}
