import { Agent, get } from "node:http";
import { parentPort, workerData } from "node:worker_threads";

/** A thread that requests /healthz repeatedly; on a message it answers with the response times since the last one. */
const agent = new Agent({ keepAlive: true, maxSockets: 1 });
let times: number[] = [];
let since = performance.now();

parentPort?.on("message", () => {
  // The request under way counts with the time that it has waited.
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
