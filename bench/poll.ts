import { Agent, get } from "node:http";
import { parentPort, workerData } from "node:worker_threads";

/** A thread that asks /healthz again and again and tells, when it is asked, how long the answers took since the last time. */
const agent = new Agent({ keepAlive: true, maxSockets: 1 });
let times: number[] = [];
let since = performance.now();

parentPort?.on("message", () => {
  // One that has not been answered yet has waited too.
  parentPort?.postMessage([...times, performance.now() - since]);
  times = [];
});

for (;;) {
  since = performance.now();
  await new Promise<void>((resolve) => {
    const request = get({ agent, host: "127.0.0.1", port: workerData as number, path: "/healthz" }, (response) => {
      response.resume().once("end", resolve);
    });
    request.once("error", () => resolve());
  });
  times.push(performance.now() - since);
  await new Promise((resolve) => setTimeout(resolve, 10));
}
