import { createServer } from "node:http";
import { Pool } from "undici";

/**
 * What the benchmark compares with: the least that a gateway in Node can do. It
 * reads the body, sends it on, and passes the answer's bytes back. No key, no
 * ledger, no look into the answer.
 */
const pool = new Pool(process.argv[2] ?? "", { connections: 2_048, pipelining: 1 });

const server = createServer((request, response) => {
  const parts: Buffer[] = [];
  request.on("data", (part: Buffer) => parts.push(part));
  request.on("end", () => {
    pool
      .stream(
        { method: "POST", path: "/v1/chat/completions", headers: { "content-type": "application/json" }, body: Buffer.concat(parts) },
        ({ statusCode, headers }) => {
          response.writeHead(statusCode, headers as Record<string, string>);
          return response;
        },
      )
      .catch(() => response.destroy());
  });
});
server.keepAliveTimeout = 65_000;
server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  if (address !== null && typeof address === "object") process.send?.({ port: address.port });
});
