import { connect, type Socket } from "node:net";

/**
 * The load: a given number of connections, each of which sends its next request when it has the
 * answer to the one before. HTTP is written by hand, so that the load takes little CPU.
 */
export type LoadOrder = { port: number; concurrency: number; seconds: number; requests: string[] };
export type LoadReport = { requests: number; failures: number; seconds: number; latenciesMs: number[] };

process.on("message", (order: LoadOrder) => {
  void run(order).then((report) => process.send?.(report));
});

async function run(order: LoadOrder): Promise<LoadReport> {
  const requests = order.requests.map((text) => Buffer.from(text));
  const report: LoadReport = { requests: 0, failures: 0, seconds: 0, latenciesMs: [] };
  const startedAt = performance.now();
  const endAt = startedAt + order.seconds * 1000;
  await Promise.all(Array.from({ length: order.concurrency }, (_, index) => client(order.port, index)));
  report.seconds = (performance.now() - startedAt) / 1000;
  return report;

  function client(port: number, index: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const socket: Socket = connect(port, "127.0.0.1");
      socket.setNoDelay(true);
      let turn = index * 7;
      let sentAt = 0;
      let answer: Buffer | null = null;
      const send = () => {
        if (performance.now() >= endAt) {
          socket.end();
          resolve();
          return;
        }
        turn = (turn + 1) % requests.length;
        sentAt = performance.now();
        socket.write(requests[turn] as Buffer);
      };
      socket.on("connect", send);
      socket.on("error", reject);
      socket.on("close", () => resolve());
      socket.on("data", (part) => {
        // Of a stream only the first and the last bytes are kept.
        answer = answer === null ? part : Buffer.concat([answer.subarray(0, 2_048), answer.subarray(2_048).subarray(-16), part]);
        if (!isComplete(answer)) return;
        report.requests++;
        report.latenciesMs.push(performance.now() - sentAt);
        if (answer.toString("latin1", 9, 12) !== "200") report.failures++;
        answer = null;
        send();
      });
    });
  }
}

function isComplete(answer: Buffer): boolean {
  const head = answer.indexOf("\r\n\r\n");
  if (head === -1) return false;
  const headers = answer.toString("latin1", 0, head).toLowerCase();
  const length = /content-length: (\d+)/.exec(headers)?.[1];
  if (length !== undefined) return answer.length >= head + 4 + Number(length);
  return answer.subarray(-5).toString("latin1") === "0\r\n\r\n";
}

process.send?.({ ready: true });
