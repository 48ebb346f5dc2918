import { execFileSync } from "node:child_process";
import cluster from "node:cluster";
import { createServer } from "node:http";
import { STOP, superviseProcesses } from "../server/start/processes.ts";

/**
 * A supervisor of two processes that do little: `node supervised.ts WHAT`. What they
 * do: "fail", they end with 3 before they listen; "die", the first to listen asks to
 * stop and is dead when the supervisor reads that.
 */
const [what] = process.argv.slice(2);

if (cluster.isPrimary) {
  let dying = true;
  // Before the supervisor's own listener.
  cluster.on("message", (worker, message) => {
    if (message !== STOP || what !== "die" || !dying) return;
    dying = false;
    const pid = String(worker.process.pid);
    worker.process.kill("SIGKILL");
    // Until its end of the channel is gone: nobody has waited for it yet, so that it stays as a zombie.
    while (!execFileSync("ps", ["-o", "stat=", "-p", pid], { encoding: "utf8" }).trim().startsWith("Z"));
    console.log("dead");
  });
  cluster.on("listening", ({ id }) => console.log(`listening ${id}`));
  superviseProcesses(2, async () => {});
} else if (what === "fail") process.exit(3);
else {
  createServer()
    .listen(0, "127.0.0.1")
    .once("listening", () => {
      if (cluster.worker?.id === 1) process.send?.(STOP);
    });
  process.on("message", (message) => message === STOP && process.exit(0));
  process.on("SIGTERM", () => process.send?.(STOP));
}
