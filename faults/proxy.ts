import { type AddressInfo, connect, createServer, type Socket } from "node:net";

/** A TCP proxy whose target can change, like a failover's virtual IP address. */
export type Proxy = {
  port: number;
  /** Ends every connection and forwards new ones to this port; null refuses them. */
  pointTo(port: number | null): void;
  close(): Promise<void>;
};

export async function startProxy(port: number): Promise<Proxy> {
  let target: number | null = port;
  const sockets = new Set<Socket>();
  const server = createServer((inside) => {
    if (target === null) return void inside.destroy();
    const outside = connect(target, "127.0.0.1");
    for (const [one, other] of [
      [inside, outside],
      [outside, inside],
    ] as const) {
      one.setNoDelay(true);
      sockets.add(one);
      one.on("error", () => {});
      one.once("close", () => {
        sockets.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const endAll = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    port: (server.address() as AddressInfo).port,
    pointTo(next) {
      target = next;
      endAll();
    },
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      endAll();
      await closed;
    },
  };
}
