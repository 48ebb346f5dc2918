import type { IncomingMessage, ServerResponse } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { asDoor } from "../http/endpoint.ts";
import { createQuotaServer } from "./listen.ts";

/** The doors and the pages answer with what they got. */
const door = asDoor(async (incoming) => ({
  status: 200,
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ door: incoming.path, query: incoming.query, host: incoming.header("host") }),
}));
async function page(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  const parts: Buffer[] = [];
  for await (const part of incoming) parts.push(part as Buffer);
  const body = Buffer.concat(parts);
  outgoing.end(
    JSON.stringify({
      page: incoming.url,
      method: incoming.method,
      host: incoming.headers.host,
      from: incoming.headers["x-forwarded-for"],
      type: incoming.headers["content-type"],
      length: body.length,
      start: body.subarray(0, 20).toString(),
    }),
  );
}

const server = createQuotaServer({ find: (path) => (path === "/v1/door" ? new Map([["GET", door]]) : null) }, { handle: page });
const port = () => (server.address() as AddressInfo).port;
beforeAll(() => new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve)));
afterAll(
  () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    }),
);

/** What is said over one connection until the server, asked to, closes it. */
function say(bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port(), "127.0.0.1");
    let text = "";
    socket.setEncoding("utf8").on("data", (part) => {
      text += part;
    });
    socket.once("error", reject);
    socket.once("close", () => resolve(text));
    socket.write(bytes);
  });
}
const jsonOf = (said: string) => JSON.parse(said.slice(said.indexOf("{"), said.lastIndexOf("}") + 1));

test.each([
  ["http://quota.example/v1/door?a=1", { door: "/v1/door", query: "a=1", host: "quota.example" }],
  ["HTTP://somebody@quota.example:81/v1/door", { door: "/v1/door", query: "", host: "quota.example:81" }],
  ["https://quota.example/wallet?a=http://x/", { page: "/wallet?a=http://x/", host: "quota.example" }],
  ["http://quota.example", { page: "/", host: "quota.example" }],
  ["http://quota.example?a=1", { page: "/?a=1", host: "quota.example" }],
  ["/wallet?back=http://x/v1/door", { page: "/wallet?back=http://x/v1/door", host: "other.example" }],
  ["*", { page: "*", host: "other.example" }],
])("the target %s is found where it is, and its host counts", async (target, found) => {
  expect(jsonOf(await say(`GET ${target} HTTP/1.1\r\nhost: other.example\r\nconnection: close\r\n\r\n`))).toMatchObject(found);
});

const megabyte = "x".repeat(1024 * 1024);

test("a page gets a body of up to a megabyte, whether or not its length is told before", async () => {
  for (const headers of [{ "content-length": "1048576" }, { "transfer-encoding": "chunked" }]) {
    const response = await fetch(`http://127.0.0.1:${port()}/form?a=1`, {
      method: "POST",
      headers: { "content-type": "text/x" },
      body: "transfer-encoding" in headers ? new Blob([megabyte]).stream() : megabyte,
      duplex: "half",
    } as RequestInit);
    const got = { page: "/form?a=1", method: "POST", from: "127.0.0.1", type: "text/x", length: 1024 * 1024, start: megabyte.slice(0, 20) };
    expect([response.status, await response.json()]).toEqual([200, expect.objectContaining(got)]);
  }
  // Nothing at all, in no chunk.
  const chunked = "POST /form HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n";
  expect(jsonOf(await say(`${chunked}connection: close\r\n\r\n0\r\n\r\n`))).toMatchObject({ length: 0 });
  // The connection goes on after it.
  const twice = await say(`${chunked}\r\n3\r\none\r\n0\r\n\r\n${chunked}connection: close\r\n\r\n3\r\ntwo\r\n0\r\n\r\n`);
  expect(twice.match(/"start":"\w+"/g)).toEqual(['"start":"one"', '"start":"two"']);
});

test("a larger body of a page is refused while its client still sends, and the connection stays good", async () => {
  for (const body of [() => `${megabyte}x`, () => new Blob([megabyte, megabyte, megabyte]).stream()]) {
    for (const path of ["/form", "/api/trpc/account.requestReset"]) {
      const response = await fetch(`http://127.0.0.1:${port()}${path}`, { method: "POST", body: body(), duplex: "half" } as RequestInit);
      expect([response.status, response.headers.get("content-type"), await response.text()]).toEqual([
        413,
        "text/plain; charset=utf-8",
        "The request body is larger than 1048576 bytes.\n",
      ]);
    }
  }
  const next = "GET /next HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
  const said = await say(`POST /form HTTP/1.1\r\nhost: x\r\ncontent-length: ${megabyte.length + 1}\r\n\r\n${megabyte}x${next}`);
  expect(said).toMatch(/^HTTP\/1\.1 413 /);
  expect(jsonOf(said.slice(said.lastIndexOf("HTTP/1.1 ")))).toMatchObject({ page: "/next" });
});

test("JSON for a page has bounds, whether or not its length is told before, and arrives byte for byte within them", async () => {
  const ask = (body: string, headers: Record<string, string> = {}) =>
    fetch(`http://127.0.0.1:${port()}/api/trpc/x`, {
      method: "POST",
      headers: { "content-type": "application/json; charset=utf-8", ...headers },
      body: headers.te === undefined ? body : new Blob([body]).stream(),
      duplex: "half",
    } as RequestInit);
  const fine = '{ "a" : [1, 2,\t{"b": "\u00e9 [[[["}]}';
  for (const headers of [{}, { te: "trailers" }] as Record<string, string>[]) {
    expect(await (await ask(fine, headers)).json()).toMatchObject({ length: Buffer.byteLength(fine), start: fine.slice(0, 20) });
    for (const [body, excess] of [
      ["[".repeat(100_000), "is nested deeper than 64 levels"],
      [`{${'"a":1,'.repeat(30_000)}"a":1}`, "has more than 20000 members"],
    ] as const) {
      const response = await ask(body, headers);
      expect([response.status, await response.text()]).toEqual([400, `The request body ${excess}.\n`]);
    }
  }
});

test("a client that leaves in the middle of a body in chunks is no fault of ours, and its page is not asked", async () => {
  const closed = new Promise((resolve) => server.once("request", (_incoming, outgoing) => outgoing.once("close", resolve)));
  const socket = connect(port(), "127.0.0.1");
  socket.write("POST /form HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n", () => socket.destroy());
  await closed;
  expect(jsonOf(await say("GET /next HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))).toMatchObject({ page: "/next" });
});

test("a request that asks for an upgrade is answered as if it had not", async () => {
  const ask = (path: string) => `GET ${path} HTTP/1.1\r\nhost: x\r\nconnection: Upgrade, close\r\nupgrade: h2c\r\n\r\n`;
  expect(jsonOf(await say(ask("/v1/door")))).toMatchObject({ door: "/v1/door" });
  expect(jsonOf(await say(ask("/nothing")))).toMatchObject({ page: "/nothing" });
});
