import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { env } from "#env";
import { log } from "../platform/log.ts";
import { parentGone } from "./parent.ts";

/** The wait before a process that ended is replaced, so that processes that fail at their start do not load the database. */
const REPLACE_AFTER_MS = 1_000;

/** The argument that a supervisor gives to its processes. */
const ONE_OF_SEVERAL = "--one-of-several";
const LISTENING = "listening";

/** Whether a supervisor started this process. It then shares its port, and the supervisor has prepared database and pages. */
export function isOneOfSeveral(): boolean {
  return process.argv.includes(ONE_OF_SEVERAL);
}

/** Tells the supervisor that this process listens. */
export function reportListening(): void {
  // A failure to send is ignored: when the supervisor has ended, this process gets "disconnect".
  process.send?.(LISTENING, undefined, undefined, () => {});
}

/**
 * Runs `count` processes of this program on one port; each is a whole server. A process
 * that ends without a signal to this one is replaced. SIGTERM and SIGINT are forwarded to
 * all of them, and this process exits after them, with 1 when one of them failed.
 * Until the first process listens, an exit with an error stops all, because each would
 * fail in the same way.
 *
 * Each process listens on its own socket (SO_REUSEPORT), and the kernel distributes the
 * connections. No process hands connections to another, so when one dies, its connections
 * are reset at once and clients do not wait for an answer.
 *
 * Throws when the port is in use or can't be shared.
 */
export async function superviseProcesses(count: number, onListening: (port: number) => Promise<void>): Promise<void> {
  const port = await sharedPort();
  const running = new Set<ChildProcess>();
  let stopping = false;
  let code = 0;
  let announced = false;
  const start = () => {
    if (stopping) return;
    const child = fork(process.argv[1] as string, [...process.argv.slice(2), ONE_OF_SEVERAL], {
      env: { ...process.env, PORT: String(port) },
    });
    running.add(child);
    child.once("error", (error) => {
      log.error("a server process could not be started", { error });
      if (child.pid === undefined) ended(child, 1, null);
    });
    child.on("message", (message) => {
      if (message !== LISTENING || announced) return;
      announced = true;
      void onListening(port);
    });
    child.once("exit", (exitCode, signal) => ended(child, exitCode, signal));
  };
  const stop = () => {
    stopping = true;
    for (const child of running) child.kill("SIGTERM");
    if (running.size === 0) process.exit(code);
  };
  const ended = (child: ChildProcess, exitCode: number | null, signal: NodeJS.Signals | null) => {
    running.delete(child);
    if (!announced && !stopping && exitCode) {
      code = exitCode;
      return stop();
    }
    if (!stopping) {
      log.warn("a server process ended and is replaced", { pid: child.pid, code: exitCode, signal });
      setTimeout(start, REPLACE_AFTER_MS);
      return;
    }
    // A process that SIGTERM killed had not installed its handler yet, so it served no request.
    if (exitCode !== 0 && signal !== "SIGTERM" && code === 0) code = 1;
    if (running.size === 0) process.exit(code);
  };
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      if (!stopping) return stop();
      // The second signal ends all at once.
      for (const child of running) child.kill("SIGKILL");
      process.exit(1);
    });
  }
  void parentGone().then(() => stopping || stop());
  for (let index = 0; index < count; index++) start();
}

/**
 * The port that the processes share. Sockets with SO_REUSEPORT do not fail when the port
 * is in use, so this first listens without it, which fails then.
 */
async function sharedPort(): Promise<number> {
  const alone = await listen({ port: env.PORT });
  try {
    return (await listen({ port: alone, reusePort: true })) as number;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOTSUP") throw error;
    throw new Error("this system does not let processes share a port. Leave QUOTA_PROCESSES at 1, or start servers on several ports.");
  }
}

/** Listens and closes; returns the port. */
async function listen(options: { port: number; reusePort?: boolean }): Promise<number> {
  const server = createServer().listen({ ...options, host: env.HOST });
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
