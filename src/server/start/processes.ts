import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { env } from "#env";
import { log } from "../platform/log.ts";
import { parentGone } from "./parent.ts";

/** A process that ends by itself is replaced after this long, so that one that can't start does not storm the database. */
const REPLACE_AFTER_MS = 1_000;

/** The argument by which a process knows that it is one of several. */
const ONE_OF_SEVERAL = "--one-of-several";
const LISTENING = "listening";

/** Whether a supervisor started this process, which then shares its port with others and has prepared everything. */
export function isOneOfSeveral(): boolean {
  return process.argv.includes(ONE_OF_SEVERAL);
}

/** Tells the supervisor that this process listens. */
export function tellListening(): void {
  // A supervisor that is gone is told of by the end of the channel.
  process.send?.(LISTENING, undefined, undefined, () => {});
}

/**
 * Runs so many processes of this program on one port; each is a whole server. One that
 * ends by itself is replaced. SIGTERM and SIGINT go to all of them, and this process
 * ends when they have, with 1 if one of them left something undone. Before the first
 * listens, one that ends with an error ends all: what it says, each of them would say.
 *
 * Each listens on a socket of its own (SO_REUSEPORT), and the system spreads
 * connections over them. So nothing is handed from one process to another and could
 * get lost on the way: when one dies, the connections that waited for it are reset at
 * once, and nobody is left without an answer or an end.
 *
 * Throws when the port is in use or can't be shared.
 */
export async function superviseProcesses(count: number, onListening: (port: number) => Promise<void>): Promise<void> {
  const port = await portToShare();
  const running = new Set<ChildProcess>();
  let stopping = false;
  let code = 0;
  let greeted = false;
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
      if (message !== LISTENING || greeted) return;
      greeted = true;
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
    if (!greeted && !stopping && exitCode) {
      code = exitCode;
      return stop();
    }
    if (!stopping) {
      log.warn("a server process ended and is replaced", { pid: child.pid, code: exitCode, signal });
      setTimeout(start, REPLACE_AFTER_MS);
      return;
    }
    // One that SIGTERM ended by itself had not begun to serve.
    if (exitCode !== 0 && signal !== "SIGTERM" && code === 0) code = 1;
    if (running.size === 0) process.exit(code);
  };
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      if (!stopping) return stop();
      // A second time: at once.
      for (const child of running) child.kill("SIGKILL");
      process.exit(1);
    });
  }
  void parentGone().then(() => stopping || stop());
  for (let index = 0; index < count; index++) start();
}

/**
 * The port that the processes are going to share. Those that share one don't notice
 * each other, so this looks whether somebody else has it already.
 */
async function portToShare(): Promise<number> {
  const alone = await listen({ port: env.PORT });
  try {
    return (await listen({ port: alone, reusePort: true })) as number;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOTSUP") throw error;
    throw new Error("this system does not let processes share a port. Leave QUOTA_PROCESSES at 1, or start servers on several ports.");
  }
}

/** Listens for a moment; the port. */
async function listen(options: { port: number; reusePort?: boolean }): Promise<number> {
  const server = createServer().listen({ ...options, host: env.HOST });
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
