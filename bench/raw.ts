import { createServer } from "node:http";
import { Pool } from "undici";

/**
 * The reference of the benchmark: a minimal gateway in Node. It reads the body, forwards it, and
 * passes the answer's bytes back, without keys, ledger or reading the answer.
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
