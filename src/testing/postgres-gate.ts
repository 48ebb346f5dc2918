import type { AddressInfo } from "node:net";
import { connect, createServer, type Server, type Socket } from "node:net";

/** How a database is away: nobody listens; it refuses whoever comes, with an SQLSTATE; it takes connections and says nothing. */
export type Away = "refused" | "silent" | { sqlState: string };

export type PostgresGate = {
  /** The database's address, through the gate. */
  url: string;
  /** Lets everything through. */
  open(): Promise<void>;
  /** Cuts every connection; new ones fare as said. */
  close(how: Away): Promise<void>;
  /** Cuts the connections there are, as when a server is restarted; new ones go through. */
  cut(): void;
  /** From now on, cuts each connection when it next sends something, in the middle of its statement. */
  cutAtNextStatement(): void;
  end(): Promise<void>;
};

/** A gate in front of a Postgres, which can be away in every way that one can. */
export async function startPostgresGate(target: string): Promise<PostgresGate> {
  const to = new URL(target);
  const sockets = new Set<Socket>();
  let server: Server | undefined;
  let port = 0;
  let away: Away | null = null;
  let cutting = false;

  function meet(socket: Socket): void {
    sockets.add(socket);
    socket.on("error", () => {}).once("close", () => sockets.delete(socket));
    if (away === "silent") return void socket.resume();
    if (away !== null && away !== "refused") {
      const { sqlState } = away;
      socket.once("data", () => socket.end(fatal(sqlState)));
      return;
    }
    const upstream = connect(Number(to.port || 5432), to.hostname);
    upstream.on("error", () => socket.destroy());
    upstream.once("close", () => socket.destroy());
    socket.once("close", () => upstream.destroy());
    upstream.pipe(socket);
    socket.on("data", (bytes) => {
      upstream.write(bytes);
      if (cutting) socket.destroy();
    });
  }

  const listen = () =>
    new Promise<void>((resolve) => {
      const listening = createServer(meet);
      server = listening;
      listening.listen(port, "127.0.0.1", () => {
        port = (listening.address() as AddressInfo).port;
        resolve();
      });
    });
  const stopListening = () =>
    new Promise<void>((resolve) => {
      if (server === undefined) return resolve();
      server.close(() => resolve());
      server = undefined;
      for (const socket of sockets) socket.destroy();
    });

  await listen();
  const url = new URL(target);
  url.hostname = "127.0.0.1";
  url.port = String(port);
  return {
    url: url.href,
    async open() {
      away = null;
      cutting = false;
      if (server === undefined) await listen();
    },
    async close(how) {
      away = how;
      await stopListening();
      if (how !== "refused") await listen();
    },
    cut() {
      for (const socket of sockets) socket.destroy();
    },
    cutAtNextStatement() {
      cutting = true;
    },
    end: stopListening,
  };
}

/** Postgres' ErrorResponse: severity, SQLSTATE and a sentence, each a text that ends with NUL. */
function fatal(sqlState: string): Buffer {
  const fields = Buffer.from(`SFATAL\0VFATAL\0C${sqlState}\0Mthe database is away\0\0`);
  const head = Buffer.alloc(5);
  head.write("E");
  head.writeInt32BE(fields.length + 4, 1);
  return Buffer.concat([head, fields]);
}
