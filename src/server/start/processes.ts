import cluster, { type Worker } from "node:cluster";
import { log } from "../platform/log.ts";

/** A process that ends by itself is replaced after this long, so that one that can't start does not storm the database. */
const REPLACE_AFTER_MS = 1_000;

/** What a process asks of the supervisor when it was told to stop, and what the supervisor then tells it. */
export const STOP = "stop";

/**
 * Runs so many processes on one port; each is a whole server. One that ends by
 * itself is replaced. SIGTERM and SIGINT go to all of them, and this process ends
 * when they have, with 1 if one of them left something undone. Before the first
 * listens, one that ends with an error ends all: what it says, each of them would say.
 *
 * A process that stops is taken off the port here, by a message after the last
 * connection that it was handed. If it closed its end first, a connection on its
 * way would come back when nobody is left to take it, and node:cluster would keep
 * it open for as long as this process lives.
 */
export function superviseProcesses(count: number, onListening: (port: number) => Promise<void>): void {
  const running = new Set<Worker>();
  let stopping = false;
  let code = 0;
  let greeted = false;
  const fork = () => {
    if (stopping) return;
    const worker = cluster.fork();
    // A message to one that has just died; that it did is told by its end.
    worker.on("error", () => {});
    running.add(worker);
  };
  cluster.on("listening", (_worker, { port }) => {
    if (greeted) return;
    greeted = true;
    void onListening(port);
  });
  cluster.on("message", (worker, message) => {
    if (message !== STOP || worker.exitedAfterDisconnect) return;
    worker.send(STOP);
    worker.disconnect();
  });
  cluster.on("exit", (worker, exitCode, signal) => {
    running.delete(worker);
    if (!greeted && !stopping && exitCode > 0) {
      stopping = true;
      code = exitCode;
      for (const other of running) other.process.kill("SIGTERM");
    }
    if (!stopping) {
      log.warn("a server process ended and is replaced", { pid: worker.process.pid, code: exitCode, signal });
      setTimeout(fork, REPLACE_AFTER_MS);
      return;
    }
    // One that SIGTERM ended by itself had not begun to serve.
    if (exitCode !== 0 && signal !== "SIGTERM" && code === 0) code = 1;
    if (running.size === 0) process.exit(code);
  });
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      // A second time: at once.
      if (stopping) {
        for (const worker of running) worker.process.kill("SIGKILL");
        process.exit(1);
      }
      stopping = true;
      for (const worker of running) worker.process.kill("SIGTERM");
      if (running.size === 0) process.exit(code);
    });
  }
  for (let index = 0; index < count; index++) fork();
}
