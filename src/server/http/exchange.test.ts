import { createServer, request as nodeRequest } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { AppError } from "../platform/errors.ts";
import { fromNode, fromRequest, type Incoming, type Reply, sendNode, toResponse } from "./exchange.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const reply = (body: Reply["body"], status = 200): Reply => ({ status, headers: { "content-type": "text/plain" }, body });

describe("a web Request", () => {
  const post = (body: BodyInit, headers: Record<string, string> = {}) =>
    fromRequest(new Request("http://x/v1/a", { method: "POST", body, headers, duplex: "half" } as RequestInit));

  test("is read up to the limit and not beyond, with and without Content-Length", async () => {
    expect(Buffer.from((await post("12345").read(5)) as Uint8Array).toString()).toBe("12345");
    expect(await post("123456").read(5)).toBe("too_large");
    let pulled = 0;
    const endless = new ReadableStream<Uint8Array>({
      pull(controller) {
        pulled++;
        controller.enqueue(bytes("x".repeat(100)));
      },
    });
    expect(await post(endless).read(1_000)).toBe("too_large");
    expect(pulled).toBeLessThan(20);
    expect(await fromRequest(new Request("http://x/v1/a")).read(5)).toEqual(new Uint8Array());
  });

  test("is answered with a stream chunk by chunk, which ends when the client cancels it", async () => {
    let ended = false;
    let made = 0;
    async function* body() {
      try {
        for (;;) {
          made++;
          yield bytes(`${made} `);
        }
      } finally {
        ended = true;
      }
    }
    const reader = (toResponse(reply(body())).body as ReadableStream<Uint8Array>).getReader();
    expect(Buffer.from((await reader.read()).value as Uint8Array).toString()).toBe("1 ");
    expect(Buffer.from((await reader.read()).value as Uint8Array).toString()).toBe("2 ");
    expect(made).toBeLessThan(5);
    await reader.cancel();
    expect(ended).toBe(true);
  });
});

describe("a request of node's server", () => {
  const closers: (() => void)[] = [];
  afterEach(() => {
    for (const close of closers.splice(0)) close();
  });

  test("whose body stops arriving is answered with 408, and its connection is closed", async () => {
    const server = createServer((incoming, outgoing) => {
      const asked = fromNode(incoming, outgoing, { bodyIdleMs: 50 });
      const answered = asked.read(100).then(
        (body) => reply(Buffer.from(body as Uint8Array).toString()),
        (error: AppError) => ({ status: error.status, headers: { ...error.headers }, body: error.code }),
      );
      void answered.then((made) => sendNode(made, incoming, outgoing));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    closers.push(() => server.close());
    const ask = (bytes: string) =>
      new Promise<string>((resolve) => {
        const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
        let text = "";
        socket.on("data", (part) => {
          text += String(part);
        });
        socket.once("close", () => resolve(text));
        socket.write(`POST / HTTP/1.1\r\nhost: x\r\n${bytes}`);
      });
    for (const half of ["content-length: 5\r\n\r\n", "content-length: 5\r\n\r\nabc", "transfer-encoding: chunked\r\n\r\n5\r\nab"]) {
      const end = await ask(half);
      expect([end.slice(0, 13), end.endsWith("request_timeout")]).toEqual(["HTTP/1.1 408 ", true]);
    }
    expect(await ask("connection: close\r\ncontent-length: 5\r\n\r\nabcde")).toMatch(/^HTTP\/1\.1 200 [\s\S]*abcde$/);
  });

  async function serve(answer: (incoming: Incoming) => Promise<Reply>): Promise<number> {
    const server = createServer((incoming, outgoing) => {
      answer(fromNode(incoming, outgoing))
        .then((made) => sendNode(made, incoming, outgoing))
        .catch(() => outgoing.destroy());
    });
    closers.push(() => {
      server.closeAllConnections();
      server.close();
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return (server.address() as AddressInfo).port;
  }

  test("keeps its connection open after its answer, with pipelined requests too", async () => {
    const port = await serve(async () => reply("ok"));
    const socket = connect(port, "127.0.0.1");
    closers.push(() => socket.destroy());
    let text = "";
    const answered = new Promise<void>((resolve) => {
      socket.on("data", (part) => {
        text += part.toString();
        if (text.split("HTTP/1.1 200").length === 4) resolve();
      });
    });
    socket.write("GET /a HTTP/1.1\r\nhost: x\r\n\r\n".repeat(3));
    await answered;
    expect(text).not.toMatch(/connection: close/i);
  });

  test("that is too large is answered while its client still sends, and the rest of its body is discarded", async () => {
    const port = await serve(async (incoming) => reply((await incoming.read(10)) === "too_large" ? "too large" : "read", 413));
    const megabyte = "x".repeat(1024 * 1024);
    for (const headers of [{ "content-length": String(20 * megabyte.length) }, {}]) {
      const answer = await new Promise<string>((resolve, reject) => {
        const outgoing = nodeRequest({ port, host: "127.0.0.1", method: "POST", headers }, (incoming) => {
          let text = "";
          incoming.on("data", (part: Buffer) => {
            text += part.toString();
          });
          incoming.once("end", () => {
            // The answer has arrived before the client has sent the whole body.
            for (let sent = 1; sent < 20; sent++) outgoing.write(megabyte);
            outgoing.end(() => resolve(`${incoming.statusCode} ${text}`));
          });
        });
        outgoing.once("error", reject);
        outgoing.write(megabyte);
      });
      expect(answer).toBe("413 too large");
    }
  });

  test("with `connection: close` that is refused is read to its end before the connection is closed", async () => {
    const port = await serve(async (incoming) => reply((await incoming.read(10)) === "too_large" ? "too large" : "read", 413));
    const rest = "x".repeat(4 * 1024 * 1024);
    const order: string[] = [];
    await new Promise<void>((resolve, reject) => {
      const socket = connect(port, "127.0.0.1");
      socket.once("error", reject);
      socket.once("end", () => order.push("closed"));
      socket.once("close", () => resolve());
      socket.on("data", (part) => {
        if (!part.toString().endsWith("too large")) return;
        order.push("answered");
        socket.write(rest, () => order.push("all sent"));
      });
      socket.write(`POST /a HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: ${rest.length}\r\n\r\n`);
    });
    expect(order).toEqual(["answered", "all sent", "closed"]);
  });

  test("whose client disconnects in the middle of the body fails with an AppError, not with an internal error", async () => {
    const failure = Promise.withResolvers<unknown>();
    const port = await serve(async (incoming) => {
      await incoming.read(1_000).catch(failure.resolve);
      return reply("");
    });
    const socket = connect(port, "127.0.0.1");
    socket.write("POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf", () => socket.destroy());
    expect(await failure.promise).toBeInstanceOf(AppError);
  });

  test("whose client disconnects before the body is read fails at once with bad_request, whether the body has arrived or not", async () => {
    for (const body of ["whole", "half"]) {
      const failure = Promise.withResolvers<unknown>();
      const arrived = Promise.withResolvers<void>();
      const port = await serve(async (incoming) => {
        arrived.resolve();
        if (!incoming.signal.aborted) await new Promise((resolve) => incoming.signal.addEventListener("abort", resolve));
        await incoming.read(1_000).catch(failure.resolve);
        return reply("");
      });
      const socket = connect(port, "127.0.0.1");
      socket.write(`POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n${body}`);
      await arrived.promise;
      socket.destroy();
      expect(await failure.promise).toMatchObject({ code: "bad_request" });
    }
  });

  test("aborts its signal and ends its stream when the client disconnects, but not after a complete answer", async () => {
    const signals: boolean[] = [];
    let ended = () => {};
    const over = new Promise<void>((resolve) => {
      ended = resolve;
    });
    const port = await serve(async (incoming) => {
      if (incoming.path === "/whole") {
        setTimeout(() => signals.push(incoming.signal.aborted), 20);
        return reply("whole");
      }
      async function* body() {
        try {
          for (;;) {
            yield bytes("x");
            await new Promise((resolve) => setTimeout(resolve, 5));
          }
        } finally {
          signals.push(incoming.signal.aborted);
          ended();
        }
      }
      return reply(body());
    });
    expect(await (await fetch(`http://127.0.0.1:${port}/whole`)).text()).toBe("whole");
    const hangUp = new AbortController();
    const response = await fetch(`http://127.0.0.1:${port}/stream`, { signal: hangUp.signal });
    await (response.body as ReadableStream<Uint8Array>).getReader().read();
    hangUp.abort();
    await over;
    await expect.poll(() => signals.length).toBe(2);
    expect(signals.toSorted()).toEqual([false, true]);
  });

  test("applies back-pressure to its stream while the client does not read", async () => {
    let made = 0;
    const part = bytes("x".repeat(64 * 1024));
    const port = await serve(async () => {
      async function* body() {
        for (; made < 2_000; made++) yield part;
      }
      return reply(body());
    });
    const socket = connect(port, "127.0.0.1");
    closers.push(() => socket.destroy());
    socket.pause();
    socket.write("GET /a HTTP/1.1\r\nhost: x\r\n\r\n");
    // The generator is read until the kernel's socket buffers are full.
    const seen: number[] = [];
    await expect.poll(() => seen.push(made) > 1 && made > 0 && seen.at(-1) === seen.at(-2), { interval: 100 }).toBe(true);
    expect(made).toBeLessThan(1_000);
  });
});
