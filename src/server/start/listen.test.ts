import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { gate } from "../../testing/fake-upstream.ts";
import { asDoor } from "../http/endpoint.ts";
import { createQuotaServer, type ServerLimits } from "./listen.ts";

/** The door and the page answer with parts of the request. */
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

/** A server for one test. Answers of /v1/slow end after `goOn.open()`. */
async function serve(limits: Partial<ServerLimits>) {
  const goOn = gate();
  const slow = asDoor(async () => ({
    status: 200,
    headers: { "content-type": "text/event-stream" },
    body: (async function* () {
      yield Buffer.from("first ");
      await goOn.opened;
      yield Buffer.from("last");
    })(),
  }));
  const echo = asDoor(async (incoming) => {
    const body = await incoming.read(100);
    return { status: 200, headers: {}, body: `got ${Buffer.from(body as Uint8Array)}` };
  });
  const doors = new Map([
    ["/v1/slow", new Map([["GET", slow]])],
    ["/v1/echo", new Map([["POST", echo]])],
  ]);
  const patient = {
    headMs: 60_000,
    requestMs: 60_000,
    bodyIdleMs: 60_000,
    idleMs: 60_000,
    checkEveryMs: 20,
    mostConnections: 1_000,
    mostPendingPerAddress: null,
    graceMs: 0,
  };
  const own = createQuotaServer({ find: (path) => doors.get(path) ?? null }, { handle: page }, { ...patient, ...limits });
  await new Promise<void>((resolve) => void own.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    goOn.open();
    own.closeAllConnections();
    own.close();
  });
  const open = (bytes = "") => {
    const socket = connect((own.address() as AddressInfo).port, "127.0.0.1");
    const conversation = { socket, text: "", closed: Promise.resolve("") };
    conversation.closed = new Promise((resolve) => {
      socket.setEncoding("latin1").on("data", (part) => {
        conversation.text += part;
        socket.emit("said");
      });
      // After a reset "close" follows.
      socket.on("error", () => {});
      socket.once("close", () => resolve(conversation.text));
    });
    if (bytes !== "") socket.write(bytes);
    return conversation;
  };
  const said = async (conversation: ReturnType<typeof open>, words: string) => {
    while (!conversation.text.includes(words)) await once(conversation.socket, "said");
  };
  const taken = () => once(own, "connection");
  return { open, said, goOn, taken };
}
const SLOW = "GET /v1/slow HTTP/1.1\r\nhost: x\r\n\r\n";
const ECHO = "POST /v1/echo HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n";

test("a request that stops arriving, at any point, is ended after its time limit; a slow answer is not", async () => {
  const { open, said, goOn } = await serve({ headMs: 100, requestMs: 200 });
  const stream = open(SLOW);
  await said(stream, "first");
  const halves = [
    "",
    "G",
    "GET /v1/slow HTTP/1.1\r\nhost: x\r\n",
    `${ECHO}x`,
    "POST /form HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nx",
    "POST /oauth/token HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nx",
  ];
  const ends = await Promise.all(halves.flatMap((half) => Array.from({ length: 20 }, () => open(half).closed)));
  for (const end of ends) expect(end).toMatch(/^(HTTP\/1\.1 408 |$)/);
  expect(ends.filter((end) => end.startsWith("HTTP/1.1 408 ")).length).toBeGreaterThanOrEqual(80);
  goOn.open();
  await said(stream, "last");
});

test("an idle connection is closed after `idleMs`", async () => {
  const { open } = await serve({ idleMs: 50 });
  expect(await open(`${ECHO}hi`).closed).toContain("got hi");
});

test("above `mostConnections` waiting connections are closed, the longest wait first, and never those with a request under way", async () => {
  const { open, said, goOn, taken } = await serve({ mostConnections: 3 });
  const [first, second] = [open(SLOW), open(SLOW)];
  await Promise.all([said(first, "first"), said(second, "first")]);
  const waiting = open("GET /v1");
  await taken();
  const served = open(`${ECHO}hi`);
  expect(await waiting.closed).toBe("");
  await said(served, "got hi");
  const third = open(SLOW);
  await served.closed;
  await said(third, "first");
  // All three have a request under way.
  expect(await open(SLOW).closed).toBe("");
  goOn.open();
  await Promise.all([first, second, third].map((each) => said(each, "last")));
});

test("one address has at most `mostPendingPerAddress` unfinished requests, and its requests under way are answered", async () => {
  const { open, said, goOn } = await serve({ mostPendingPerAddress: 2 });
  const atWork = Array.from({ length: 5 }, () => open(SLOW));
  for (const each of atWork) await said(each, "first");
  const halves = Array.from({ length: 4 }, () => open("GET /v1"));
  // The two that have waited longest.
  await Promise.all(halves.slice(0, 2).map(({ closed }) => closed));
  const served = open(`${ECHO}hi`);
  await said(served, "got hi");
  goOn.open();
  await Promise.all(atWork.map((each) => said(each, "last")));
  expect(halves.map(({ socket }) => socket.destroyed)).toEqual([true, true, true, false]);
});

test("connections from one address that arrive together within `graceMs` are all answered", async () => {
  const { open, said, taken } = await serve({ mostPendingPerAddress: 2, graceMs: 60_000 });
  const together: ReturnType<typeof open>[] = [];
  for (let count = 0; count < 20; count++) {
    const arrived = taken();
    together.push(open());
    await arrived;
  }
  for (const { socket } of together) socket.write(`${ECHO}hi`);
  await Promise.all(together.map((each) => said(each, "got hi")));
});

test.each([
  ["two hosts", "GET /v1/door HTTP/1.1\r\nhost: a\r\nHost: b\r\n\r\n"],
  ["the same host twice", "GET /v1/door HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n"],
  ["two hosts for a page", "GET /wallet HTTP/1.1\r\nHOST: a\r\nhost: b\r\n\r\n"],
  ["two hosts and a target in absolute form", "GET http://a/v1/door HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"],
  ["no host", "GET /v1/door HTTP/1.1\r\n\r\n"],
  ["a length and chunks", "POST /form HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"],
  ["two lengths", "POST /form HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd"],
  ["an invalid length", "POST /form HTTP/1.1\r\nhost: a\r\ncontent-length: 3, 3\r\n\r\nabc"],
  ["chunks that are not the last coding", "POST /form HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n"],
  ["a space before a colon", "GET /v1/door HTTP/1.1\r\nhost : a\r\n\r\n"],
  ["a folded header", "GET /v1/door HTTP/1.1\r\nhost: a\r\nx: b\r\n c\r\n\r\n"],
])("a request with %s, which servers read differently, is 400 and closes the connection", async (_name, bytes) => {
  expect(await say(bytes)).toMatch(/^HTTP\/1\.1 400 [\s\S]*connection: close/i);
});

/** Everything that the server sends over one connection until it closes it, which the request asks for. */
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
])("the path, query and host of the target %s are used", async (target, found) => {
  expect(jsonOf(await say(`GET ${target} HTTP/1.1\r\nhost: other.example\r\nconnection: close\r\n\r\n`))).toMatchObject(found);
});

const megabyte = "x".repeat(1024 * 1024);

test("a page gets a body of up to a mebibyte, with Content-Length or in chunks", async () => {
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
  // An empty body in chunked coding.
  const chunked = "POST /form HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n";
  expect(jsonOf(await say(`${chunked}connection: close\r\n\r\n0\r\n\r\n`))).toMatchObject({ length: 0 });
  // The connection takes another request.
  const twice = await say(`${chunked}\r\n3\r\none\r\n0\r\n\r\n${chunked}connection: close\r\n\r\n3\r\ntwo\r\n0\r\n\r\n`);
  expect(twice.match(/"start":"\w+"/g)).toEqual(['"start":"one"', '"start":"two"']);
});

test("a larger body for a page is refused while the client still sends, and the connection takes another request", async () => {
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

test("JSON for a page is refused beyond its bounds of structure, and arrives byte for byte within them, with Content-Length or in chunks", async () => {
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

test("a client that leaves in the middle of a chunked body does not reach a page, and other clients are answered", async () => {
  const closed = new Promise((resolve) => server.once("request", (_incoming, outgoing) => outgoing.once("close", resolve)));
  const socket = connect(port(), "127.0.0.1");
  socket.write("POST /form HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n", () => socket.destroy());
  await closed;
  expect(jsonOf(await say("GET /next HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))).toMatchObject({ page: "/next" });
});

test("the Upgrade header is ignored", async () => {
  const ask = (path: string) => `GET ${path} HTTP/1.1\r\nhost: x\r\nconnection: Upgrade, close\r\nupgrade: h2c\r\n\r\n`;
  expect(jsonOf(await say(ask("/v1/door")))).toMatchObject({ door: "/v1/door" });
  expect(jsonOf(await say(ask("/nothing")))).toMatchObject({ page: "/nothing" });
});
