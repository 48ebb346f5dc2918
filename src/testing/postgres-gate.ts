import type { AddressInfo } from "node:net";
import { connect, createServer, type Server, type Socket } from "node:net";

/** How the database is unreachable: connections are refused; they get an error with an SQLSTATE; they are accepted and never answered. */
export type Away = "refused" | "silent" | { sqlState: string };

export type PostgresGate = {
  /** The database's address, through the gate. */
  url: string;
  /** Lets all connections through. */
  open(): Promise<void>;
  /** Cuts every connection; new ones are treated as `how` says. */
  close(how: Away): Promise<void>;
  /** Cuts open connections, as a restart does; new ones go through. */
  cut(): void;
  /** Cuts each connection when it next sends data, so in the middle of a statement. */
  cutAtNextStatement(): void;
  end(): Promise<void>;
};

/** Starts a TCP proxy in front of a Postgres that makes it unreachable in these ways. */
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

/** Postgres's ErrorResponse message: severity, SQLSTATE and text, each ended by NUL. */
function fatal(sqlState: string): Buffer {
  const fields = Buffer.from(`SFATAL\0VFATAL\0C${sqlState}\0Mthe database is away\0\0`);
  const head = Buffer.alloc(5);
  head.write("E");
  head.writeInt32BE(fields.length + 4, 1);
  return Buffer.concat([head, fields]);
}
